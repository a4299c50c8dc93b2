package org.csrm.opensearch;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.ConnectException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.security.AccessController;
import java.security.PrivilegedAction;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executor;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import javax.net.ssl.SSLHandshakeException;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;
import org.csrm.opensearch.Page.Judgment;
import org.opensearch.common.xcontent.XContentFactory;
import org.opensearch.common.xcontent.XContentHelper;
import org.opensearch.common.xcontent.XContentType;
import org.opensearch.core.common.bytes.BytesArray;
import org.opensearch.core.common.bytes.BytesReference;
import org.opensearch.core.xcontent.XContentBuilder;

/**
 * Asks the relevance service (POST /v1/relevance) for judgments, within a deadline.
 *
 * <p>After some failures in a row nothing is asked for a while, and never more than so many searches at once:
 * a service that is down or slow must not slow the searches that it cannot help.
 */
final class RelevanceClient {
  private static final int FAILURES = 5;
  private static final Set<String> SEARCH_AT_FAULT = Set.of("relevance-413", "relevance-422");
  private static final long COOLDOWN_NANOS = TimeUnit.SECONDS.toNanos(5);

  private static final Logger LOG = LogManager.getLogger(RelevanceClient.class);

  private final URI endpoint;
  private final String key;
  private final Semaphore free;
  private final Executor threads;
  private final AtomicInteger failures = new AtomicInteger();
  private final AtomicBoolean failing = new AtomicBoolean();
  private volatile long closedUntil = System.nanoTime();
  private HttpClient http;

  /**
   * @param key sent as bearer token; none where empty
   * @param threads those of OpenSearch: the HTTP client may not make its own under a security manager, and what
   *     the node does with the answer is not allowed on them
   */
  RelevanceClient(String url, String key, int maxInFlight, Executor threads) {
    this.threads = threads;
    this.key = key;
    endpoint = URI.create(url.replaceFirst("/+$", "") + "/v1/relevance");
    free = new Semaphore(maxInFlight);
  }

  /** Why there are no judgments; the message is the word in csrm-status. */
  static final class NoJudgments extends RuntimeException {
    NoJudgments(String word) {
      super(word, null, false, false);
    }
  }

  /** Judgments in the order of the products. Fails with {@link NoJudgments} or what went wrong. */
  CompletableFuture<List<Judgment>> judge(String query, List<String> products, String locale, int timeoutMs) {
    if (System.nanoTime() - closedUntil < 0) {
      return CompletableFuture.failedFuture(new NoJudgments("breaker-open"));
    }
    if (!free.tryAcquire()) {
      return CompletableFuture.failedFuture(new NoJudgments("busy"));
    }
    HttpRequest.Builder request =
        HttpRequest.newBuilder(endpoint)
            .timeout(Duration.ofMillis(timeoutMs))
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofByteArray(body(query, products, locale, timeoutMs)));
    if (!key.isEmpty()) {
      request.header("Authorization", "Bearer " + key);
    }
    CompletableFuture<HttpResponse<byte[]>> answer;
    try {
      answer = send(request.build(), timeoutMs);
    } catch (RuntimeException | Error e) { // for instance what the security manager says
      answer = CompletableFuture.failedFuture(e);
    }
    return answer
        .thenApplyAsync(response -> read(response, products.size()), threads)
        .whenComplete((judgments, error) -> count(error));
  }

  private CompletableFuture<HttpResponse<byte[]>> send(HttpRequest request, int timeoutMs) {
    HttpClient used = client();
    return attempt(used, request)
        .exceptionallyComposeAsync(error -> sendAgain(used, request, causeOf(error)), threads)
        .orTimeout(timeoutMs, TimeUnit.MILLISECONDS);
  }

  /** Once, over a new connection: JDK 17 does not notice that a service has closed one that was kept with TLS. */
  private CompletableFuture<HttpResponse<byte[]>> sendAgain(HttpClient used, HttpRequest request, Throwable cause) {
    boolean old =
        cause instanceof IOException
            && !(cause instanceof ConnectException
                || cause instanceof SSLHandshakeException
                || cause instanceof HttpTimeoutException);
    if (!old) {
      return CompletableFuture.failedFuture(cause);
    }
    synchronized (this) {
      if (http == used) {
        http = null;
      }
    }
    return attempt(client(), request);
  }

  private CompletableFuture<HttpResponse<byte[]>> attempt(HttpClient client, HttpRequest request) {
    return privileged(() -> client.sendAsync(request, HttpResponse.BodyHandlers.ofByteArray()));
  }

  private synchronized HttpClient client() {
    if (http == null) {
      http =
          privileged(() -> HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).executor(threads).build());
    }
    return http;
  }

  @SuppressWarnings("removal") // the security manager of 2.x; a plain call where there is none
  private static <T> T privileged(PrivilegedAction<T> action) {
    return AccessController.doPrivileged(action);
  }

  /** What went wrong, without the future's own wrapping. */
  static Throwable causeOf(Throwable error) {
    return error instanceof CompletionException && error.getCause() != null ? error.getCause() : error;
  }

  private void count(Throwable error) {
    free.release();
    Throwable cause = causeOf(error);
    // A service that finds fault with one search is well; else a few odd searches could switch it off for all.
    boolean well = error == null || cause instanceof NoJudgments && SEARCH_AT_FAULT.contains(cause.getMessage());
    if (well) {
      failures.set(0);
    } else if (failures.incrementAndGet() >= FAILURES) {
      failures.set(0);
      closedUntil = System.nanoTime() + COOLDOWN_NANOS;
    }
    // The first failure and the first success after it, not each of thousands.
    if (failing.getAndSet(!well) == well) {
      if (well) {
        LOG.info("{} judges again", endpoint);
      } else {
        LOG.warn("{} gives no judgments, searches stay as they are: {}", endpoint, String.valueOf(cause));
      }
    }
  }

  private static byte[] body(String query, List<String> products, String locale, int timeoutMs) {
    try (XContentBuilder json = XContentFactory.jsonBuilder()) {
      json.startObject().field("query", query).field("products", products);
      json.field("locale", locale).field("deadline_ms", timeoutMs).endObject();
      return BytesReference.toBytes(BytesReference.bytes(json));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static List<Judgment> read(HttpResponse<byte[]> response, int expected) {
    if (response.statusCode() != 200) {
      throw new NoJudgments("relevance-" + response.statusCode());
    }
    Map<String, Object> answer =
        XContentHelper.convertToMap(new BytesArray(response.body()), false, XContentType.JSON).v2();
    List<Judgment> judgments = new ArrayList<>();
    if (answer.get("results") instanceof List<?> results) {
      for (Object result : results) {
        Map<?, ?> one = (Map<?, ?>) result;
        judgments.add(
            new Judgment(
                ((Number) one.get("score")).doubleValue(),
                ((Number) one.get("irrelevance")).doubleValue(),
                "remove".equals(one.get("decision"))));
      }
    }
    if (judgments.size() != expected) {
      throw new NoJudgments("relevance-garbage");
    }
    return judgments;
  }
}
