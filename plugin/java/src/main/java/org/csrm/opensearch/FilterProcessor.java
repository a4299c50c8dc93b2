package org.csrm.opensearch;

import java.net.http.HttpTimeoutException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeoutException;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import javax.net.ssl.SSLException;
import org.csrm.opensearch.Page.Judgment;
import org.csrm.opensearch.RelevanceClient.NoJudgments;
import org.opensearch.action.search.SearchRequest;
import org.opensearch.action.search.SearchResponse;
import org.opensearch.action.search.SearchResponseSections;
import org.opensearch.common.document.DocumentField;
import org.opensearch.common.util.concurrent.ThreadContext;
import org.opensearch.core.action.ActionListener;
import org.opensearch.ingest.ConfigurationUtils;
import org.opensearch.search.SearchHit;
import org.opensearch.search.SearchHits;
import org.opensearch.search.pipeline.AbstractProcessor;
import org.opensearch.search.pipeline.PipelineProcessingContext;
import org.opensearch.search.pipeline.Processor;
import org.opensearch.search.pipeline.SearchResponseProcessor;
import org.opensearch.search.profile.SearchProfileShardResults;

/**
 * Drops what the relevance service finds irrelevant and orders the rest; OpenSearch's own page if it cannot.
 *
 * <p>The header csrm-status of the answer says which of the two happened.
 */
final class FilterProcessor extends AbstractProcessor implements SearchResponseProcessor {
  static final String TYPE = "csrm_filter";
  /** The longest text that the service reads. */
  private static final int MAX_PRODUCT_CHARS = 20_000;

  private final RelevanceClient service;
  private final Executor threads;
  private final ThreadContext context;
  private final String locale;
  private final int timeoutMs;
  private final int minKeep;

  private FilterProcessor(
      RelevanceClient service, Executor threads, ThreadContext context, String tag, String description,
      boolean ignoreFailure, String locale, int timeoutMs, int minKeep) {
    super(tag, description, ignoreFailure);
    this.service = service;
    this.threads = threads;
    this.context = context;
    this.locale = locale;
    this.timeoutMs = timeoutMs;
    this.minKeep = minKeep;
  }

  static Processor.Factory<SearchResponseProcessor> factory(
      RelevanceClient service, Executor threads, ThreadContext context) {
    return (factories, tag, description, ignoreFailure, config, ignored) -> {
      String locale = ConfigurationUtils.readOptionalStringProperty(TYPE, tag, config, "locale");
      int timeoutMs = ConfigurationUtils.readIntProperty(TYPE, tag, config, "timeout_ms", 1000);
      int minKeep = ConfigurationUtils.readIntProperty(TYPE, tag, config, "min_keep", 1);
      if (timeoutMs < 1) {
        throw ConfigurationUtils.newConfigurationException(TYPE, tag, "timeout_ms", "must be at least 1");
      }
      return new FilterProcessor(
          service, threads, context, tag, description, ignoreFailure, locale, timeoutMs, minKeep);
    };
  }

  @Override
  public SearchResponse processResponse(SearchRequest request, SearchResponse response) {
    throw new IllegalStateException("csrm_filter answers later");
  }

  @Override
  public void processResponseAsync(
      SearchRequest request,
      SearchResponse response,
      PipelineProcessingContext pipeline,
      ActionListener<SearchResponse> listener) {
    if (!(pipeline.getAttribute(Window.KEY) instanceof Window window)) {
      listener.onResponse(response);
      return;
    }
    SearchHit[] hits = response.getHits().getHits();
    List<Integer> places = new ArrayList<>();
    List<String> products = new ArrayList<>();
    for (int place = 0; place < Math.min(hits.length, window.window()); place++) {
      String text = text(hits[place], window.fields());
      if (!text.isEmpty()) {
        places.add(place);
        products.add(text);
      }
    }
    for (SearchHit hit : hits) {
      window.added().forEach(hit::removeDocumentField);
    }
    SearchHit[] own = Page.own(hits, window.from(), window.size());
    if (products.isEmpty()) {
      listener.onResponse(with(response, own));
      return;
    }
    // The thread that goes on with the answer knows nothing of this search.
    Supplier<ThreadContext.StoredContext> search = context.newRestorableContext(true);
    service
        .judge(window.query(), products, locale, timeoutMs)
        .handleAsync(
            (judgments, error) -> {
              SearchHit[] page = own;
              String status = error == null ? "" : "skipped; reason=" + word(error);
              if (error == null) {
                Map<Integer, Judgment> judged = new HashMap<>();
                for (int i = 0; i < places.size(); i++) {
                  judged.put(places.get(i), judgments.get(i));
                }
                List<SearchHit> kept = Page.kept(hits, window.window(), judged, minKeep);
                page = Page.cut(kept, window.from(), window.size());
                status = "reranked; window=" + products.size() + "; removed=" + (hits.length - kept.size());
              }
              try (ThreadContext.StoredContext ignored = search.get()) {
                context.addResponseHeader("csrm-status", status);
                listener.onResponse(with(response, page));
              }
              return null;
            },
            threads);
  }

  private static String word(Throwable error) {
    Throwable cause = RelevanceClient.causeOf(error);
    if (cause instanceof NoJudgments) {
      return cause.getMessage();
    }
    if (cause instanceof TimeoutException || cause instanceof HttpTimeoutException) {
      return "deadline";
    }
    return cause instanceof SSLException ? "relevance-untrusted" : "relevance-down";
  }

  private static String text(SearchHit hit, List<String> fields) {
    String text =
        fields.stream()
            .map(hit::field)
            .filter(field -> field != null)
            .map(DocumentField::getValues)
            .flatMap(List::stream)
            .map(value -> String.valueOf(value).strip())
            .filter(value -> !value.isEmpty())
            .collect(Collectors.joining(" "));
    return text.substring(0, Math.min(text.length(), MAX_PRODUCT_CHARS)).strip();
  }

  private static SearchResponse with(SearchResponse response, SearchHit[] page) {
    SearchHits hits = new SearchHits(page, response.getHits().getTotalHits(), response.getHits().getMaxScore());
    boolean profiled = !response.getProfileResults().isEmpty();
    return new SearchResponse(
        new SearchResponseSections(
            hits,
            response.getAggregations(),
            response.getSuggest(),
            response.isTimedOut(),
            response.isTerminatedEarly(),
            profiled ? new SearchProfileShardResults(response.getProfileResults()) : null,
            response.getNumReducePhases(),
            response.getInternalResponse().getSearchExtBuilders()),
        response.getScrollId(),
        response.getTotalShards(),
        response.getSuccessfulShards(),
        response.getSkippedShards(),
        response.getTook().millis(),
        response.getPhaseTook(),
        response.getShardFailures(),
        response.getClusters(),
        response.pointInTimeId());
  }

  @Override
  public String getType() {
    return TYPE;
  }
}
