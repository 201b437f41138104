package sightline.connect;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Function;

/** As much of S3 as the sink uses, in memory, with failures on demand. */
final class FakeStore implements AutoCloseable {

    record Stored(byte[] bytes, Map<String, String> headers) {}

    /** What to answer instead of doing the work; status 0 cuts the connection. */
    record Failure(int status, String code) {}

    final Map<String, Stored> objects = new ConcurrentHashMap<>();
    /** The key of every put that arrived, in order. */
    final List<String> puts = new CopyOnWriteArrayList<>();
    final List<String> unconditional = new CopyOnWriteArrayList<>();
    /** Keys that a conditional put finds and a head does not. */
    final Set<String> halves = ConcurrentHashMap.newKeySet();
    /** Consulted at every put; null: do the work. */
    volatile Function<String, Failure> failing = key -> null;

    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final HttpServer server;

    FakeStore() throws IOException {
        this(0);
    }

    FakeStore(int port) throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
        server.createContext("/frames/", this::answer);
        server.setExecutor(threads);
        server.start();
    }

    int port() {
        return server.getAddress().getPort();
    }

    private void answer(HttpExchange exchange) throws IOException {
        String key = exchange.getRequestURI().getPath().substring("/frames/".length());
        byte[] body = exchange.getRequestBody().readAllBytes();
        if (exchange.getRequestMethod().equals("HEAD")) {
            Stored stored = objects.get(key);
            if (stored == null) {
                exchange.sendResponseHeaders(404, -1);
                exchange.close();
                return;
            }
            stored.headers().forEach(exchange.getResponseHeaders()::set);
            exchange.getResponseHeaders().set("Content-Length", "" + stored.bytes().length);
            exchange.sendResponseHeaders(200, -1);
            exchange.close();
            return;
        }
        puts.add(key);
        Failure failure = failing.apply(key);
        boolean isConditional = "*".equals(exchange.getRequestHeaders().getFirst("If-None-Match"));
        if (!isConditional) {
            unconditional.add(key);
        }
        if (isConditional && halves.contains(key)) {
            failure = new Failure(412, "PreconditionFailed");
        }
        String sha256 = exchange.getRequestHeaders().getFirst("x-amz-checksum-sha256");
        if (failure == null && !ValidityRule.sha256(body)
                .equals(HexFormat.of().formatHex(Base64.getDecoder().decode(sha256)))) {
            failure = new Failure(400, "BadDigest");
        }
        if (failure == null && objects.putIfAbsent(key, new Stored(body, headersOf(exchange))) != null) {
            failure = new Failure(412, "PreconditionFailed");
        }
        if (failure != null && failure.status() == 0) {
            throw new IOException("the connection is cut");
        }
        byte[] answer = failure == null ? new byte[0] : errorText(failure).getBytes(StandardCharsets.UTF_8);
        exchange.sendResponseHeaders(failure == null ? 200 : failure.status(), answer.length == 0 ? -1 : answer.length);
        exchange.getResponseBody().write(answer);
        exchange.close();
    }

    private static String errorText(Failure failure) {
        return failure.code() == null
                ? "<h1>a proxy's words</h1>"
                : "<Error><Code>" + failure.code() + "</Code><Message>no</Message></Error>";
    }

    private static Map<String, String> headersOf(HttpExchange exchange) {
        Map<String, String> headers = new ConcurrentHashMap<>();
        exchange.getRequestHeaders().forEach((name, values) -> {
            if (name.toLowerCase().startsWith("x-amz-meta-") || name.equalsIgnoreCase("Content-Type")) {
                headers.put(name.toLowerCase(), values.get(0));
            }
        });
        return headers;
    }

    @Override
    public void close() {
        server.stop(0);
        threads.shutdownNow();
    }
}
