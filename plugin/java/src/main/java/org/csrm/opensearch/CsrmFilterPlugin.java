package org.csrm.opensearch;

import java.util.List;
import java.util.Map;
import java.util.concurrent.Executor;
import org.opensearch.common.settings.Setting;
import org.opensearch.common.settings.Settings;
import org.opensearch.plugins.Plugin;
import org.opensearch.plugins.SearchPipelinePlugin;
import org.opensearch.search.pipeline.Processor;
import org.opensearch.search.pipeline.SearchRequestProcessor;
import org.opensearch.search.pipeline.SearchResponseProcessor;

/**
 * Two search pipeline processors that do inside a node what the gateway does before it: csrm_window fetches
 * the hits that are to be judged, csrm_filter has them judged, drops, orders and cuts them to the page.
 *
 * <p>Where the relevance service is stands in opensearch.yml, not in the pipeline: who may write pipelines
 * must not be able to make the nodes call other hosts.
 */
public final class CsrmFilterPlugin extends Plugin implements SearchPipelinePlugin {
  static final Setting<String> URL =
      Setting.simpleString("csrm.relevance.url", "http://127.0.0.1:8000", Setting.Property.NodeScope);
  static final Setting<Integer> MAX_IN_FLIGHT =
      Setting.intSetting("csrm.relevance.max_in_flight", 16, 1, Setting.Property.NodeScope);

  @Override
  public List<Setting<?>> getSettings() {
    return List.of(URL, MAX_IN_FLIGHT);
  }

  @Override
  public Map<String, Processor.Factory<SearchRequestProcessor>> getRequestProcessors(Parameters parameters) {
    return Map.of(WindowProcessor.TYPE, WindowProcessor::create);
  }

  @Override
  public Map<String, Processor.Factory<SearchResponseProcessor>> getResponseProcessors(Parameters parameters) {
    Settings settings = parameters.env.settings();
    Executor threads = parameters.genericExecutor::accept;
    RelevanceClient service = new RelevanceClient(URL.get(settings), MAX_IN_FLIGHT.get(settings), threads);
    return Map.of(FilterProcessor.TYPE, FilterProcessor.factory(service, threads, parameters.threadContext));
  }
}
