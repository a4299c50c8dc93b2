import java.io.IOException;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.opensearch.common.logging.LogConfigurator;
import org.opensearch.common.settings.KeyStoreWrapper;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.http.HttpServerTransport;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;

/**
 * One throw-away OpenSearch node for development and tests: {@code LocalNode HOME RUN}.
 *
 * <p>HOME has lib, modules and plugins and is only read. RUN has config and secrets, and gets the data. The
 * HTTP port is written to RUN/http.port once the node answers, so a port of 0 (any free one) can be asked for
 * without a race. The node goes when its standard input ends, which is when the process that started it ends, however
 * that happened; it then also removes RUN, since nobody else is left to do it.
 *
 * <p>It goes round OpenSearch's own Bootstrap on purpose: no security manager, no bootstrap checks and no
 * refusal to run as root, which a test machine needs and a production machine must not have.
 */
public final class LocalNode {
  private static volatile Node node;
  private static volatile boolean orphaned;

  public static void main(String[] args) throws Exception {
    Path home = Path.of(args[0]);
    Path run = Path.of(args[1]);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> close(run)));
    Thread watch = new Thread(LocalNode::exitWithParent, "parent-watch");
    watch.setDaemon(true);
    watch.start();

    LogConfigurator.registerErrorListener();
    Settings secrets = Settings.builder().setSecureSettings(keystore(run)).build();
    Environment environment =
        InternalSettingsPreparer.prepareEnvironment(
            secrets, Map.of("path.home", home.toString()), run.resolve("config"), () -> "local");
    LogConfigurator.setNodeName("local");
    LogConfigurator.configure(environment);
    node = new Node(environment);
    node.start();

    HttpServerTransport http = node.injector().getInstance(HttpServerTransport.class);
    Path unfinished = run.resolve("http.port.unfinished");
    Files.writeString(unfinished, Integer.toString(http.boundAddress().publishAddress().getPort()));
    Files.move(unfinished, run.resolve("http.port"), StandardCopyOption.ATOMIC_MOVE);
    Thread.currentThread().join();
  }

  /** The node's keystore, filled with the files of RUN/secrets, each of which is named as its setting. */
  private static KeyStoreWrapper keystore(Path run) throws Exception {
    KeyStoreWrapper keystore = KeyStoreWrapper.create();
    // What the command opensearch-keystore calls; it is not public in 2.x.
    Method add = KeyStoreWrapper.class.getDeclaredMethod("setString", String.class, char[].class);
    add.setAccessible(true);
    try (Stream<Path> files = Files.list(run.resolve("secrets"))) {
      for (Path file : files.toList()) {
        add.invoke(keystore, file.getFileName().toString(), Files.readString(file).toCharArray());
        Files.delete(file);
      }
    }
    keystore.save(run.resolve("config"), new char[0]);
    KeyStoreWrapper saved = KeyStoreWrapper.load(run.resolve("config"));
    saved.decrypt(new char[0]);
    return saved;
  }

  private static void exitWithParent() {
    try {
      while (System.in.read() >= 0) {
        // nobody writes: only the end matters
      }
    } catch (IOException gone) {
      // as good as the end
    }
    orphaned = true;
    System.exit(0);
  }

  private static void close(Path run) {
    try {
      if (node != null) {
        node.close();
      }
      if (orphaned) {
        List<Path> deepestFirst;
        try (Stream<Path> files = Files.walk(run)) {
          deepestFirst = files.sorted(Comparator.reverseOrder()).toList();
        }
        for (Path file : deepestFirst) {
          Files.deleteIfExists(file);
        }
      }
    } catch (IOException e) {
      System.err.println("The node did not close cleanly: " + e);
    }
  }
}
