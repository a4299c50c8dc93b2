package org.csrm.opensearch;

import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.opensearch.common.xcontent.XContentHelper;
import org.opensearch.common.xcontent.XContentType;
import org.opensearch.core.common.bytes.BytesArray;
import org.opensearch.index.query.QueryBuilder;

/** Finds what the shopper typed: the one text that the full-text parts of a query have in common. */
final class QueryText {
  /** Clauses whose texts are the shop's and not the shopper's. */
  private static final Set<String> NOT_TYPED = Set.of("filter", "must_not", "negative");

  private QueryText() {}

  /** The text, or nothing where the query has none or several. */
  static Optional<String> of(QueryBuilder query) {
    Set<String> texts = new LinkedHashSet<>();
    collect(XContentHelper.convertToMap(new BytesArray(query.toString()), false, XContentType.JSON).v2(), texts);
    texts.removeIf(String::isBlank);
    return texts.size() == 1 ? Optional.of(texts.iterator().next().strip()) : Optional.empty();
  }

  private static void collect(Object node, Set<String> texts) {
    if (node instanceof Map<?, ?> map) {
      map.forEach(
          (name, value) -> {
            if ("query".equals(name) && !(value instanceof Map)) {
              texts.add(String.valueOf(value));
            } else if (!NOT_TYPED.contains(name)) {
              collect(value, texts);
            }
          });
    } else if (node instanceof Iterable<?> list) {
      list.forEach(child -> collect(child, texts));
    }
  }
}
