package sightline.connect;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Base64;
import java.util.Collections;
import java.util.Date;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.errors.DataException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(60)
class RetryingAvroConverterTest {

    private static final Path FRAMES = Path.of("../../contracts/avro/frames/v1.avsc");
    private static final int ID = 7;
    private static final Answer NO_SUCH_ID = new Answer(404, "application/json",
            "{\"detail\":\"d\",\"title\":\"t\",\"status\":404,\"name\":\"ContentNotFoundException\"}");
    private static final Answer NO_SUCH_PATH = new Answer(404, "application/json",
            "{\"detail\":\"d\",\"title\":\"t\",\"status\":404,\"name\":\"NotFoundException\"}");
    private static final Answer BROKEN = new Answer(500, "application/json", "{\"status\":500,\"name\":\"Oops\"}");

    private record Answer(int status, String type, String body) {}

    private final Deque<Answer> before = new ArrayDeque<>();
    private final AtomicInteger asked = new AtomicInteger();
    private volatile String authorization;
    private volatile boolean isSilent;
    private final RetryingAvroConverter converter = new RetryingAvroConverter();
    private HttpServer registry;

    @AfterEach
    void close() {
        converter.close();
        if (registry != null) {
            registry.stop(0);
        }
    }

    private int startRegistry(int port) throws IOException {
        registry = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
        registry.createContext("/apis/registry/v3/ids/contentIds/", this::answer);
        registry.setExecutor(Executors.newCachedThreadPool(work -> {
            Thread thread = new Thread(work);
            thread.setDaemon(true);
            return thread;
        }));
        registry.start();
        return registry.getAddress().getPort();
    }

    private void answer(HttpExchange exchange) throws IOException {
        asked.incrementAndGet();
        authorization = exchange.getRequestHeaders().getFirst("Authorization");
        if (isSilent) {
            return;
        }
        Answer answer = before.poll();
        if (answer == null) {
            answer = exchange.getRequestURI().getPath().endsWith("/" + ID)
                    ? new Answer(200, "application/json", Files.readString(FRAMES))
                    : NO_SUCH_ID;
        }
        byte[] body = answer.body().getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", answer.type());
        exchange.sendResponseHeaders(answer.status(), body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    private void configure(int port, String... more) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("apicurio.registry.url", "http://127.0.0.1:" + port + "/apis/registry/v3");
        settings.put("registry.timeout.ms", "500");
        for (int i = 0; i < more.length; i += 2) {
            settings.put(more[i], more[i + 1]);
        }
        converter.configure(settings, false);
    }

    private void startAndConfigure() throws IOException {
        configure(startRegistry(0));
    }

    private static byte[] frame(int schemaId) throws IOException {
        Schema schema = new Schema.Parser().parse(Files.readString(FRAMES));
        GenericData.Record record = new GenericData.Record(schema);
        Records.frame(1, new byte[] {1, 2, 3}).forEach((name, value) -> record.put(name,
                value instanceof byte[] bytes ? ByteBuffer.wrap(bytes)
                        : name.equals("sequence") ? ((Integer) value).longValue() : value));
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.write(ByteBuffer.allocate(5).put((byte) 0).putInt(schemaId).array());
        BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(out, null);
        new GenericDatumWriter<>(schema).write(record, encoder);
        encoder.flush();
        return out.toByteArray();
    }

    private Struct convert(byte[] bytes) {
        SchemaAndValue converted = converter.toConnectData("frames", new RecordHeaders(), bytes);
        return (Struct) converted.value();
    }

    private DataException refused(byte[] bytes) {
        return assertThrows(DataException.class, () -> convert(bytes));
    }

    private static byte[] framed(int id, byte... rest) {
        return ByteBuffer.allocate(5 + rest.length).put((byte) 0).putInt(id).put(rest).array();
    }

    @Test
    void a_frame_arrives_as_the_types_that_the_rule_and_the_sinks_read() throws IOException {
        startAndConfigure();
        Struct frame = convert(frame(ID));
        assertEquals(new Date(Records.NOW_MS), frame.get("captured_at"));
        assertNull(frame.get("source_time"));
        assertEquals(Records.frameId(1), frame.get("frame_id"));
        assertEquals(640, frame.get("width"));
        assertEquals(1L, frame.get("sequence"));
        new ValidityRule(Contract.FRAMES, Duration.ofDays(90)).check(Records.CAMERA, frame, Records.NOW_MS);
        assertEquals(Records.keyOf(1), Frame.of(frame).key());
    }

    @Test
    void a_registry_away_at_the_start_is_waited_for() throws Exception {
        int port;
        try (ServerSocket free = new ServerSocket(0)) {
            port = free.getLocalPort();
        }
        configure(port);
        byte[] bytes = frame(ID);
        CompletableFuture<Struct> converted = CompletableFuture.supplyAsync(() -> convert(bytes));
        Thread.sleep(1_500);
        assertTrue(!converted.isDone());
        startRegistry(port);
        assertEquals(Records.CAMERA, converted.get(20, TimeUnit.SECONDS).get("camera_id"));
    }

    static Stream<Answer> notOfTheRecord() {
        return Stream.of(BROKEN, NO_SUCH_PATH, new Answer(503, "text/html", "<h1>gone</h1>"),
                new Answer(502, "text/plain", ""), new Answer(404, "text/html", "<h1>who?</h1>"),
                new Answer(401, "application/json", "{\"status\":401,\"name\":\"UnauthorizedException\"}"),
                new Answer(429, "application/json", "{\"status\":429}"));
    }

    @ParameterizedTest
    @MethodSource("notOfTheRecord")
    void an_answer_that_is_not_the_records_fault_is_waited_through(Answer answer) throws IOException {
        before.addAll(List.of(answer, answer));
        startAndConfigure();
        assertEquals(Records.CAMERA, convert(frame(ID)).get("camera_id"));
        assertEquals(3, asked.get());
    }

    @Test
    void a_registry_that_never_answers_is_asked_again() throws Exception {
        isSilent = true;
        startAndConfigure();
        byte[] bytes = frame(ID);
        CompletableFuture<Struct> converted = CompletableFuture.supplyAsync(() -> convert(bytes));
        Thread.sleep(1_500);
        isSilent = false;
        assertEquals(Records.CAMERA, converted.get(20, TimeUnit.SECONDS).get("camera_id"));
        assertTrue(asked.get() >= 2);
    }

    @Test
    void a_known_schema_outlives_the_registry() throws IOException {
        startAndConfigure();
        convert(frame(ID));
        registry.stop(0);
        assertEquals(Records.CAMERA, convert(frame(ID)).get("camera_id"));
        assertEquals(1, asked.get());
    }

    @Test
    void an_unknown_schema_id_is_a_bad_record_and_is_asked_for_each_time() throws IOException {
        startAndConfigure();
        for (int id : new int[] {99, 99, -1, 0, Integer.MAX_VALUE}) {
            assertTrue(refused(framed(id, (byte) 1)).getMessage().startsWith("unknown_schema: "));
        }
        assertEquals(5, asked.get());
        assertEquals(Records.CAMERA, convert(frame(ID)).get("camera_id"));
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "{\"type\":\"object\"}", "{\"type\":[\"object\",null]}", "{\"title\":\"x\",\"properties\":{}}", "{}", "null", "7",
        "syntax = \"proto3\"; message Frame {}", "{\"$schema\":\"s\",\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"}}}"
    })
    void a_schema_that_is_not_avro_is_a_bad_record_and_is_not_waited_for(String text) throws IOException {
        before.add(new Answer(200, "application/json", text));
        startAndConfigure();
        String reason = refused(framed(8, (byte) 1)).getMessage();
        assertTrue(reason.startsWith("unknown_schema: "), reason);
        assertEquals(1, asked.get());
        assertEquals(Records.CAMERA, convert(frame(ID)).get("camera_id"));
    }

    @Test
    void garbage_is_a_bad_record() throws IOException {
        startAndConfigure();
        byte[] cut = frame(ID);
        for (byte[] garbage : new byte[][] {{}, {0}, {0, 0, 0, 7}, "garbage".getBytes(StandardCharsets.UTF_8),
                framed(ID), framed(ID, (byte) 2), framed(ID, (byte) 1), Arrays.copyOf(cut, cut.length - 2),
                framed(ID, (byte) 4, (byte) 0xff, (byte) 0xfe)}) {
            assertTrue(refused(garbage).getMessage().startsWith("undecodable: "));
        }
        assertEquals(Records.CAMERA, convert(frame(ID)).get("camera_id"));
    }

    @Test
    void a_length_of_a_gigabyte_is_refused_without_reserving_it() throws IOException {
        startAndConfigure();
        byte[] gigabyte = {(byte) 0x80, (byte) 0x80, (byte) 0x80, (byte) 0x80, 8};
        String reason = refused(framed(ID, gigabyte)).getMessage();
        assertTrue(reason.startsWith("undecodable: ") && reason.contains("exceeds maximum"), reason);
    }

    @Test
    void text_that_is_not_utf_8_is_a_bad_record() throws IOException {
        startAndConfigure();
        byte[] bytes = frame(ID);
        bytes[6] = (byte) 0xff; // the first letter of frame_id
        assertTrue(refused(bytes).getMessage().contains("MalformedInput"));
    }

    @Test
    void a_header_of_one_record_does_not_change_how_the_next_is_read() throws IOException {
        startAndConfigure();
        RecordHeaders headers = new RecordHeaders();
        headers.add("apicurio.value.encoding", "JSON".getBytes(StandardCharsets.UTF_8));
        assertInstanceOf(Struct.class, converter.toConnectData("frames", headers, frame(ID)).value());
        assertEquals(Records.CAMERA, convert(frame(ID)).get("camera_id"));
    }

    @Test
    void null_stays_null_for_the_check_to_refuse() throws IOException {
        startAndConfigure();
        assertEquals(SchemaAndValue.NULL, converter.toConnectData("frames", new RecordHeaders(), null));
    }

    @Test
    void a_stop_while_waiting_is_no_fault_of_the_record() throws Exception {
        before.addAll(Collections.nCopies(100, BROKEN));
        startAndConfigure();
        byte[] bytes = frame(ID);
        CompletableFuture<Struct> converted = new CompletableFuture<>();
        Thread waiting = new Thread(() -> {
            try {
                converted.complete(convert(bytes));
            } catch (Throwable error) {
                converted.completeExceptionally(error);
            }
        });
        waiting.start();
        Thread.sleep(700);
        waiting.interrupt();
        ExecutionException end = assertThrows(ExecutionException.class, () -> converted.get(10, TimeUnit.SECONDS));
        assertInstanceOf(Error.class, end.getCause());
    }

    @Test
    void a_login_at_the_registry_is_sent() throws IOException {
        configure(startRegistry(0), "apicurio.registry.auth.username", "connect",
                "apicurio.registry.auth.password", "hush");
        convert(frame(ID));
        assertEquals("Basic " + Base64.getEncoder().encodeToString("connect:hush".getBytes(StandardCharsets.UTF_8)),
                authorization);
    }

    @Test
    void closing_ends_the_clients_threads() throws Exception {
        startAndConfigure();
        convert(frame(ID));
        converter.close();
        long end = System.nanoTime() + Duration.ofSeconds(20).toNanos();
        while (Thread.getAllStackTraces().keySet().stream()
                .anyMatch(thread -> thread.getName().startsWith("vert.x-event"))) {
            assertTrue(System.nanoTime() < end, "a thread of the registry's client is still there");
            Thread.sleep(50);
        }
    }
}
