package org.csrm.opensearch;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.opensearch.action.search.SearchRequest;
import org.opensearch.ingest.ConfigurationUtils;
import org.opensearch.search.builder.SearchSourceBuilder;
import org.opensearch.search.fetch.subphase.FieldAndFormat;
import org.opensearch.search.pipeline.AbstractProcessor;
import org.opensearch.search.pipeline.PipelineProcessingContext;
import org.opensearch.search.pipeline.Processor;
import org.opensearch.search.pipeline.SearchRequestProcessor;

/**
 * Widens a search so that its page can be cut from the judged window and what follows it.
 *
 * <p>All pages are cut from one list: the kept hits of the window, then the hits beyond it. At most a whole
 * window is dropped, so a page needs the hits up to its end and a window more. A search that cannot be widened
 * without changing what it means is left alone.
 */
final class WindowProcessor extends AbstractProcessor implements SearchRequestProcessor {
  static final String TYPE = "csrm_window";
  private static final int DEFAULT_SIZE = 10;
  private static final int MAX_RESULT_WINDOW = 10_000;

  private final int window;
  private final List<String> fields;

  private WindowProcessor(String tag, String description, boolean ignoreFailure, int window, List<String> fields) {
    super(tag, description, ignoreFailure);
    this.window = window;
    this.fields = fields;
  }

  static SearchRequestProcessor create(
      Map<String, Processor.Factory<SearchRequestProcessor>> factories,
      String tag,
      String description,
      boolean ignoreFailure,
      Map<String, Object> config,
      Processor.PipelineContext context) {
    int window = ConfigurationUtils.readIntProperty(TYPE, tag, config, "window", 100);
    if (window < 1 || window > 1000) {
      throw ConfigurationUtils.newConfigurationException(TYPE, tag, "window", "must be from 1 to 1000");
    }
    List<String> fields = ConfigurationUtils.readList(TYPE, tag, config, "fields");
    return new WindowProcessor(tag, description, ignoreFailure, window, List.copyOf(fields));
  }

  @Override
  public SearchRequest processRequest(SearchRequest request) {
    throw new IllegalStateException("csrm_window needs the pipeline's context");
  }

  @Override
  public SearchRequest processRequest(SearchRequest request, PipelineProcessingContext context) {
    SearchSourceBuilder source = request.source();
    if (source == null || source.query() == null || request.scroll() != null || !isPlain(source)) {
      return request;
    }
    int from = Math.max(0, source.from());
    int size = source.size() < 0 ? DEFAULT_SIZE : source.size();
    int needed = from + size + window;
    Optional<String> query = QueryText.of(source.query());
    if (size == 0 || needed > MAX_RESULT_WINDOW || query.isEmpty()) {
      return request;
    }
    List<String> added = new ArrayList<>(fields);
    List<FieldAndFormat> asked = source.fetchFields();
    if (asked != null) {
      asked.forEach(field -> added.remove(field.field));
    }
    added.forEach(source::fetchField);
    source.from(0).size(needed);
    context.setAttribute(Window.KEY, new Window(from, size, window, query.get(), fields, List.copyOf(added)));
    return request;
  }

  /** Ordered by score, and paged by from and size. */
  private static boolean isPlain(SearchSourceBuilder source) {
    boolean sorted = source.sorts() != null && !source.sorts().isEmpty();
    return !sorted && source.collapse() == null && source.searchAfter() == null && source.slice() == null;
  }

  @Override
  public String getType() {
    return TYPE;
  }
}
