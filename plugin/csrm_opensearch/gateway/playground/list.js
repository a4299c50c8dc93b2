// The rule of the list, as the gateway has it (window.py): what stays at a threshold, in which order.
// Knows an explained answer; knows no page.

/** The judged products of an explained answer, in lexical order. */
export function products(answer) {
  const kept = answer.hits.hits.filter((hit) => hit._csrm).map((hit, served) => product(hit._index, hit._id, hit._csrm, served));
  const removed = answer.csrm.removed.map((note) => product(note._index, note._id, note, null));
  return [...kept, ...removed].sort((a, b) => a.rank - b.rank);
}

function product(index, id, note, served) {
  const judged = note.irrelevance !== undefined;
  return { key: `${index}/${id}`, id, rank: note.lexical_rank, text: note.text, served, judged,
    irrelevance: judged ? note.irrelevance : 0, score: note.score, grades: note.grades };
}

/** What stays at a threshold, in the order to show, and what goes, in lexical order. */
export function recut(all, threshold, minKeep) {
  const doomed = all.filter((one) => one.irrelevance > threshold);
  const spared = Math.max(0, Math.min(minKeep, all.length) - (all.length - doomed.length));
  const least = [...doomed].sort((a, b) => a.irrelevance - b.irrelevance || a.rank - b.rank);
  const removed = new Set(least.slice(spared));
  // the order of the gateway, whatever it blends; what it had removed finds its place by score
  const kept = all.filter((one) => !removed.has(one) && one.served !== null).sort((a, b) => a.served - b.served);
  for (const late of all.filter((one) => !removed.has(one) && one.served === null)) {
    const place = kept.findIndex((one) => one.judged && (one.score < late.score || (one.score === late.score && one.rank > late.rank)));
    kept.splice(place < 0 ? kept.length : place, 0, late);
  }
  return { kept, removed: all.filter((one) => removed.has(one)) };
}

/** How far a product moved: places up (positive) or down, from OpenSearch's list to the filtered one. */
export function moved(one, place) {
  return one.rank - place;
}
