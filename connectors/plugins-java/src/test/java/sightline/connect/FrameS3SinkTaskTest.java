package sightline.connect;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.lang.reflect.Proxy;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigException;
import org.apache.kafka.connect.errors.ConnectException;
import org.apache.kafka.connect.errors.RetriableException;
import org.apache.kafka.connect.sink.ErrantRecordReporter;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.sink.SinkTaskContext;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@Timeout(60)
class FrameS3SinkTaskTest {

    private static final TopicPartition PARTITION = new TopicPartition("frames", 0);
    private static final byte[] IMAGE = {(byte) 0xff, (byte) 0xd8, 1, 2, 3};

    private record Letter(long offset, String reason) {}

    private final List<Letter> letters = new ArrayList<>();
    private final List<Long> comeBackMs = new ArrayList<>();
    private CompletableFuture<Void> letterWritten = CompletableFuture.completedFuture(null);
    private ErrantRecordReporter reporter = (record, error) -> {
        letters.add(new Letter(record.kafkaOffset(), error.getMessage()));
        return letterWritten;
    };
    private FakeStore store;
    private FrameS3SinkTask task;

    @BeforeEach
    void open() throws IOException {
        store = new FakeStore();
    }

    @AfterEach
    void close() {
        if (task != null) {
            task.stop();
        }
        store.close();
    }

    private Map<String, String> settings() {
        return new HashMap<>(Map.of("s3.endpoint", "http://127.0.0.1:" + store.port(), "s3.bucket", "frames",
                "s3.access.key", "test", "s3.secret.key", "secret", "s3.parallel", "4"));
    }

    private void start() {
        start(settings());
    }

    private void start(Map<String, String> settings) {
        task = new FrameS3SinkTask();
        task.initialize((SinkTaskContext) Proxy.newProxyInstance(
                getClass().getClassLoader(), new Class<?>[] {SinkTaskContext.class}, (proxy, method, arguments) -> {
                    if (method.getName().equals("timeout")) {
                        comeBackMs.add((Long) arguments[0]);
                    }
                    return method.getName().equals("errantRecordReporter") ? reporter : null;
                }));
        task.start(settings);
    }

    private static List<SinkRecord> frames(int from, int to) {
        return IntStream.range(from, to).mapToObj(n -> Records.frameRecord(n, IMAGE)).toList();
    }

    /** What Connect would commit after having delivered everything before an offset. */
    private long committable(long consumed) {
        return task.preCommit(Map.of(PARTITION, new OffsetAndMetadata(consumed))).get(PARTITION).offset();
    }

    private void awaitCommittable(long offset) {
        await(() -> committable(offset) == offset);
    }

    private static void await(BooleanSupplier condition) {
        long end = System.nanoTime() + Duration.ofSeconds(20).toNanos();
        while (!condition.getAsBoolean()) {
            assertTrue(System.nanoTime() < end, "it did not come about");
            try {
                Thread.sleep(10);
            } catch (InterruptedException error) {
                throw new IllegalStateException(error);
            }
        }
    }

    @Test
    void each_record_becomes_one_object_with_its_metadata() {
        start();
        Map<String, Object> png = Records.frame(1, new byte[] {7});
        png.put("encoding", "png");
        png.put("object_key", Records.keyOf(1).replace(".jpg", ".png"));
        task.put(List.of(Records.frameRecord(0, IMAGE), Records.sinkRecord(1, Records.struct("frames", png))));
        awaitCommittable(2);
        FakeStore.Stored jpeg = store.objects.get(Records.keyOf(0));
        assertArrayEquals(IMAGE, jpeg.bytes());
        assertEquals(Map.of("content-type", "image/jpeg", "x-amz-meta-sha256", ValidityRule.sha256(IMAGE),
                "x-amz-meta-camera", Records.CAMERA, "x-amz-meta-captured_at", "2026-01-02T03:04:05.678Z"),
                jpeg.headers());
        assertEquals("image/png",
                store.objects.get(Records.keyOf(1).replace(".jpg", ".png")).headers().get("content-type"));
        assertEquals(List.of(), letters);
        assertEquals(List.of(), store.unconditional);
    }

    @Test
    void half_an_object_that_a_killed_store_left_is_put_over() {
        store.halves.add(Records.keyOf(1));
        start();
        task.put(frames(0, 3));
        awaitCommittable(3);
        assertArrayEquals(IMAGE, store.objects.get(Records.keyOf(1)).bytes());
        assertEquals(List.of(Records.keyOf(1)), store.unconditional);
    }

    @Test
    void an_answer_lost_with_its_connection_is_looked_up() {
        start();
        task.put(frames(0, 2));
        awaitCommittable(2);
        task.close(Set.of(PARTITION));
        store.failing = key -> new FakeStore.Failure(0, "");
        Map<String, Object> other = Records.frame(1, new byte[] {9});
        task.put(List.of(Records.frameRecord(0, IMAGE), Records.sinkRecord(1, Records.struct("frames", other))));
        awaitCommittable(2);
        assertEquals(1, letters.size());
        assertTrue(letters.get(0).reason().startsWith("object_conflict: "), letters.toString());
        assertEquals(List.of(), store.unconditional);
    }

    @Test
    void an_object_deleted_between_put_and_comparison_is_put_again_as_a_new_one() {
        store.halves.add(Records.keyOf(0));
        store.failing = key -> {
            if (store.puts.size() > 1) {
                store.halves.remove(key);
            }
            return null;
        };
        start();
        task.put(frames(0, 1));
        awaitCommittable(1);
        assertEquals(List.of(), store.unconditional);
    }

    @Test
    void an_offset_is_committed_only_when_all_before_it_are_stored() {
        CountDownLatch held = new CountDownLatch(1);
        store.failing = key -> {
            if (key.equals(Records.keyOf(3))) {
                awaitLatch(held);
            }
            return null;
        };
        start();
        task.put(frames(0, 10));
        await(() -> store.objects.size() == 9);
        await(() -> committable(10) == 3);
        held.countDown();
        awaitCommittable(10);
    }

    @Test
    void a_redelivery_of_the_same_bytes_is_done() {
        start();
        task.put(frames(0, 3));
        awaitCommittable(3);
        task.close(Set.of(PARTITION));
        task.put(frames(0, 3));
        awaitCommittable(3);
        assertEquals(6, store.puts.size());
        assertEquals(List.of(), letters);
    }

    @Test
    void other_bytes_under_the_same_frame_id_are_a_dead_letter_and_the_first_stay() {
        start();
        task.put(List.of(Records.frameRecord(0, IMAGE)));
        awaitCommittable(1);
        Map<String, Object> other = Records.frame(0, new byte[] {9});
        task.put(List.of(Records.sinkRecord(1, Records.struct("frames", other))));
        awaitCommittable(2);
        assertEquals(1, letters.size());
        assertTrue(letters.get(0).reason().startsWith("object_conflict: object exists with another sha256"),
                letters.toString());
        assertArrayEquals(IMAGE, store.objects.get(Records.keyOf(0)).bytes());
    }

    @Test
    void of_two_records_with_one_key_in_one_batch_the_first_wins_even_when_its_put_is_slower() {
        AtomicInteger tries = new AtomicInteger();
        store.failing = key -> tries.getAndIncrement() == 0 ? new FakeStore.Failure(503, "SlowDown") : null;
        start();
        Map<String, Object> other = Records.frame(0, new byte[] {9});
        task.put(List.of(Records.frameRecord(0, IMAGE), Records.sinkRecord(1, Records.struct("frames", other))));
        awaitCommittable(2);
        assertArrayEquals(IMAGE, store.objects.get(Records.keyOf(0)).bytes());
        assertEquals(List.of(1L), letters.stream().map(Letter::offset).toList());
    }

    @ParameterizedTest
    @CsvSource({"503,SlowDown", "500,InternalError", "429,TooManyRequests", "403,InvalidAccessKeyId",
        "404,NoSuchBucket", "409,ConditionalRequestConflict", "400,BadDigest", "400,",
        "400,XMinioAdminBucketQuotaExceeded"})
    void a_refusal_that_is_not_the_records_fault_is_no_dead_letter(int status, String code) {
        store.failing = key -> store.puts.size() < 3 ? new FakeStore.Failure(status, code) : null;
        start();
        task.put(frames(0, 1));
        awaitCommittable(1);
        assertEquals(3, store.puts.size());
        assertEquals(List.of(), letters);
    }

    @Test
    void what_the_store_refuses_for_the_records_sake_is_a_dead_letter_and_the_others_go_on() {
        store.failing = key -> key.equals(Records.keyOf(1)) ? new FakeStore.Failure(400, "KeyTooLongError")
                : key.equals(Records.keyOf(2)) ? new FakeStore.Failure(413, "EntityTooLarge") : null;
        start();
        task.put(frames(0, 5));
        awaitCommittable(5);
        assertEquals(Set.of(1L, 2L), Set.copyOf(letters.stream().map(Letter::offset).toList()));
        assertTrue(letters.stream().allMatch(letter -> letter.reason().startsWith("store_refused: ")));
        assertEquals(3, store.objects.size());
    }

    @Test
    void bytes_that_are_not_the_digests_are_a_dead_letter_even_without_the_check_before() {
        Map<String, Object> frame = Records.frame(0, IMAGE);
        frame.put("sha256", "0".repeat(64));
        start();
        task.put(List.of(Records.sinkRecord(0, Records.struct("frames", frame))));
        awaitCommittable(1);
        assertEquals(List.of(new Letter(0, "sha256_mismatch: sha256 is not that of the image's bytes")), letters);
        assertTrue(store.objects.isEmpty());
    }

    @Test
    void a_key_that_is_not_the_computed_one_is_a_dead_letter() {
        Map<String, Object> frame = Records.frame(0, IMAGE);
        frame.put("object_key", "somewhere/else.jpg");
        start();
        task.put(List.of(Records.sinkRecord(0, Records.struct("frames", frame)), Records.sinkRecord(1, "no record")));
        awaitCommittable(2);
        assertEquals(List.of("object_key_mismatch: object_key is not " + Records.keyOf(0),
                "not_a_record: the value is a String"), letters.stream().map(Letter::reason).toList());
        assertEquals(List.of(), store.puts);
    }

    @Test
    void a_dead_letter_that_is_not_written_yet_holds_the_offset_back() {
        letterWritten = new CompletableFuture<>();
        start();
        task.put(List.of(Records.sinkRecord(0, "no record")));
        assertEquals(0, committable(1));
        letterWritten.complete(null);
        assertEquals(1, committable(1));
        assertEquals(1, letters.size());
    }

    @Test
    void a_dead_letter_that_cannot_be_written_stops_the_task() {
        letterWritten = CompletableFuture.failedFuture(new IOException("no broker"));
        start();
        task.put(List.of(Records.sinkRecord(0, "no record")));
        assertThrows(ConnectException.class, () -> task.put(List.of()));
    }

    @Test
    void without_dead_letters_a_bad_record_stops_the_task() {
        reporter = null;
        start();
        task.put(List.of(Records.sinkRecord(0, "no record")));
        assertThrows(ConnectException.class, () -> task.put(List.of()));
    }

    @Test
    void a_store_that_is_away_at_the_start_is_waited_for_and_nothing_is_taken_twice() throws IOException {
        int port = store.port();
        store.close();
        start(with("s3.in.flight.bytes", "" + ValidityRule.MAX_IMAGE_BYTES));
        byte[] large = new byte[1_500_000]; // two fit in flight
        List<SinkRecord> batch = IntStream.range(0, 4).mapToObj(n -> Records.frameRecord(n, large)).toList();
        RetriableException away = assertThrows(RetriableException.class, () -> task.put(batch));
        assertTrue(away.getMessage().startsWith("waiting for the store: "), away.getMessage());
        assertEquals(1, comeBackMs.size());
        assertEquals(0, committable(0));
        store = new FakeStore(port);
        task.put(batch);
        awaitCommittable(4);
        assertEquals(4, store.objects.size());
        assertEquals(4, store.puts.size());
        assertEquals(List.of(), letters);
    }

    @Test
    void what_is_slow_is_waited_for_without_an_error() {
        store.failing = key -> {
            sleep(50);
            return null;
        };
        start(with("s3.in.flight.bytes", "" + ValidityRule.MAX_IMAGE_BYTES));
        byte[] large = new byte[1_500_000];
        task.put(IntStream.range(0, 12).mapToObj(n -> Records.frameRecord(n, large)).toList());
        awaitCommittable(12);
        assertEquals(List.of(), comeBackMs);
    }

    @Test
    void an_answer_that_does_not_come_is_cut_off_and_asked_for_again() {
        AtomicInteger asked = new AtomicInteger();
        store.failing = key -> {
            if (asked.getAndIncrement() == 0) {
                sleep(3_000);
            }
            return null;
        };
        start(with("s3.timeout.ms", "300"));
        task.put(frames(0, 1));
        awaitCommittable(1);
        assertTrue(asked.get() >= 2);
        assertEquals(List.of(), letters);
    }

    @Test
    void a_lost_partition_is_no_longer_tried() {
        store.failing = key -> new FakeStore.Failure(503, "SlowDown");
        start();
        task.put(frames(0, 1));
        await(() -> !store.puts.isEmpty());
        task.close(Set.of(PARTITION));
        sleep(1_000);
        int after = store.puts.size();
        sleep(1_000);
        assertEquals(after, store.puts.size());
        assertEquals(7, committable(7));
    }

    @Test
    void a_stop_ends_every_thread_even_while_the_store_is_away() {
        long before = putThreads();
        store.failing = key -> new FakeStore.Failure(503, "SlowDown");
        for (int i = 0; i < 3; i++) {
            start();
            task.put(frames(0, 8));
            await(() -> putThreads() > before);
            task.stop();
            await(() -> putThreads() == before);
        }
        assertEquals(List.of(), letters);
    }

    @Test
    void wrong_settings_are_refused_before_anything_starts_and_the_secret_is_not_shown() {
        FrameS3SinkConnector connector = new FrameS3SinkConnector();
        assertThrows(ConfigException.class, () -> connector.start(with("s3.endpoint", "nowhere")));
        assertThrows(ConfigException.class, () -> connector.start(with("s3.parallel", "0")));
        Map<String, String> noBucket = settings();
        noBucket.remove("s3.bucket");
        assertThrows(ConfigException.class, () -> connector.start(noBucket));
        assertFalse(new FrameS3SinkConfig(with("s3.secret.key", "hush")).values().toString().contains("hush"));
        connector.start(settings());
        assertEquals(3, connector.taskConfigs(3).size());
    }

    private Map<String, String> with(String name, String value) {
        Map<String, String> settings = settings();
        settings.put(name, value);
        return settings;
    }

    private static long putThreads() {
        return Thread.getAllStackTraces().keySet().stream()
                .filter(thread -> thread.getName().equals("frame-put"))
                .count();
    }

    private static void awaitLatch(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }

    private static void sleep(long milliseconds) {
        try {
            Thread.sleep(milliseconds);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }
}
