package org.csrm.opensearch;

import java.net.URI;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executor;
import org.opensearch.common.settings.SecureSetting;
import org.opensearch.common.settings.Setting;
import org.opensearch.common.settings.Settings;
import org.opensearch.core.common.settings.SecureString;
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
 * must not be able to make the nodes call other hosts. The service's key is in the node's keystore.
 */
public final class CsrmFilterPlugin extends Plugin implements SearchPipelinePlugin {
  static final Setting<String> URL =
      Setting.simpleString(
          "csrm.relevance.url", "http://127.0.0.1:8000", CsrmFilterPlugin::checkUrl, Setting.Property.NodeScope);
  static final Setting<SecureString> KEY = SecureSetting.secureString("csrm.relevance.key", null);
  static final Setting<Integer> MAX_IN_FLIGHT =
      Setting.intSetting("csrm.relevance.max_in_flight", 16, 1, Setting.Property.NodeScope);

  @Override
  public List<Setting<?>> getSettings() {
    return List.of(URL, KEY, MAX_IN_FLIGHT);
  }

  @Override
  public Map<String, Processor.Factory<SearchRequestProcessor>> getRequestProcessors(Parameters parameters) {
    return Map.of(WindowProcessor.TYPE, WindowProcessor::create);
  }

  @Override
  public Map<String, Processor.Factory<SearchResponseProcessor>> getResponseProcessors(Parameters parameters) {
    Settings settings = parameters.env.settings();
    Executor threads = parameters.genericExecutor::accept;
    String key;
    try (SecureString secret = KEY.get(settings)) {
      key = secret.toString();
    }
    // What HTTP cannot carry would be quoted in the error of each search.
    if (!key.chars().allMatch(letter -> letter > ' ' && letter < 127)) {
      throw new IllegalArgumentException(KEY.getKey() + ": only letters of ASCII and no blanks can be sent");
    }
    RelevanceClient service = new RelevanceClient(URL.get(settings), key, MAX_IN_FLIGHT.get(settings), threads);
    return Map.of(FilterProcessor.TYPE, FilterProcessor.factory(service, threads, parameters.threadContext));
  }

  private static void checkUrl(String url) {
    URI uri = URI.create(url);
    if (!List.of("http", "https").contains(String.valueOf(uri.getScheme())) || uri.getHost() == null) {
      throw new IllegalArgumentException("csrm.relevance.url: write it like https://relevance.example:8000");
    }
    if (uri.getUserInfo() != null) { // everybody who may see the nodes sees the URL
      throw new IllegalArgumentException(
          "csrm.relevance.url: no password here; put csrm.relevance.key into the keystore");
    }
  }
}
