package org.csrm.opensearch;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import org.opensearch.search.SearchHit;

/** The rules: which hits of the window stay, in which order, and which of all are the page. Knows no network. */
final class Page {
  private Page() {}

  /** What the service says of one product. */
  record Judgment(double score, double irrelevance, boolean removed) {}

  /**
   * The list that all pages of a search are cut from.
   *
   * @param judged judgments by place; a hit of the window without text has none, and stays after those that have
   * @param minKeep so many of the judged stay, the least irrelevant, however bad they are
   */
  static List<SearchHit> kept(SearchHit[] hits, int window, Map<Integer, Judgment> judged, int minKeep) {
    List<Integer> stay = new ArrayList<>(judged.keySet());
    stay.sort(Comparator.comparingDouble(place -> judged.get(place).irrelevance()));
    List<Integer> kept = new ArrayList<>();
    for (int place : stay) {
      if (!judged.get(place).removed() || kept.size() < minKeep) {
        kept.add(place);
      }
    }
    kept.sort(
        Comparator.<Integer>comparingDouble(place -> -judged.get(place).score()).thenComparingInt(place -> place));
    List<SearchHit> list = new ArrayList<>();
    kept.forEach(place -> list.add(hits[place]));
    for (int place = 0; place < hits.length; place++) {
      if (place >= window || !judged.containsKey(place)) {
        list.add(hits[place]);
      }
    }
    return list;
  }

  /** The client's page of a list, shorter or empty where the list ends. */
  static SearchHit[] cut(List<SearchHit> list, int from, int size) {
    return list.stream().skip(from).limit(size).toArray(SearchHit[]::new);
  }

  /** The client's page as OpenSearch alone has it. */
  static SearchHit[] own(SearchHit[] hits, int from, int size) {
    return cut(Arrays.asList(hits), from, size);
  }
}
