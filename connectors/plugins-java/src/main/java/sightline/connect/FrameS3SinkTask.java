package sightline.connect;

import java.util.Collection;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.connect.errors.ConnectException;
import org.apache.kafka.connect.errors.DataException;
import org.apache.kafka.connect.errors.RetriableException;
import org.apache.kafka.connect.sink.ErrantRecordReporter;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.sink.SinkTask;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Puts the images of frame records into S3, many at a time.
 *
 * <pre>
 * put ──► waiting for the store (bounded in bytes) ──► pool ──► stored | dead letter ──► preCommit
 * </pre>
 *
 * {@code put} returns before the objects are stored, so that the next records are fetched and decoded meanwhile.
 * What holds: an offset is committed only when its object and all before it are stored or dead-lettered, so a crash
 * repeats work and loses nothing. A store that is away is waited for without limit: what is in flight is tried again
 * for ever, and as soon as no more fits, {@code put} asks Connect to come back later, which keeps the consumer alive.
 */
public class FrameS3SinkTask extends SinkTask {

    private static final Logger LOG = LoggerFactory.getLogger(FrameS3SinkTask.class);
    private static final long FIRST_PAUSE_MS = 200;
    private static final long LONGEST_PAUSE_MS = 5_000;
    /** How long put waits for room before it looks whether the store is away; a stop has to wait for it, too. */
    private static final long PATIENCE_MS = 3_000;
    private static final long COME_BACK_MS = 500;
    private static final long LAST_PUTS_MS = 1_000;

    private final Uploads uploads = new Uploads();
    /** The last upload of each key in flight: a record of the same key waits for it, so that the first one wins. */
    private final Map<String, CompletableFuture<Void>> lastOfKey = new ConcurrentHashMap<>();
    private final CountDownLatch stopping = new CountDownLatch(1);
    private final AtomicInteger triedAgain = new AtomicInteger();
    private final Outage outage = new Outage(LOG, "store");
    private FrameStore store;
    private ExecutorService pool;
    private Semaphore room;
    private ErrantRecordReporter reporter;

    @Override
    public void start(Map<String, String> properties) {
        FrameS3SinkConfig config = new FrameS3SinkConfig(properties);
        store = new FrameStore(config);
        pool = Executors.newFixedThreadPool(config.getInt(FrameS3SinkConfig.PARALLEL), work -> {
            Thread thread = new Thread(work, "frame-put");
            thread.setDaemon(true);
            return thread;
        });
        room = new Semaphore(config.getInt(FrameS3SinkConfig.IN_FLIGHT_BYTES));
        reporter = context.errantRecordReporter();
    }

    /**
     * Takes records as far as there is room, in order.
     *
     * @throws RetriableException the store is away and there is no more room; what was taken already is remembered,
     *     so that delivering the batch again repeats nothing
     * @throws ConnectException a fault of the sink itself
     */
    @Override
    public void put(Collection<SinkRecord> records) {
        uploads.settle(this::report);
        for (SinkRecord record : records) {
            if (!uploads.isTaken(record)) {
                take(record);
            }
        }
    }

    private void take(SinkRecord record) {
        Upload upload = new Upload(record);
        Frame frame;
        try {
            frame = Frame.of(record.value());
        } catch (DataException error) {
            upload.refused(error);
            uploads.add(record, upload);
            return;
        }
        int size = Math.min(frame.image().length, ValidityRule.MAX_IMAGE_BYTES);
        makeRoom(size);
        uploads.add(record, upload);
        CompletableFuture<Void> done = new CompletableFuture<>();
        CompletableFuture<Void> before = lastOfKey.put(frame.key(), done);
        pool.execute(() -> {
            try {
                if (isAfter(before)) {
                    store(frame, upload);
                }
            } finally {
                lastOfKey.remove(frame.key(), done);
                done.complete(null);
                room.release(size);
            }
        });
    }

    /** Waits for an earlier record of the same key. It is ahead in the pool's queue, so it always comes to its end. */
    private static boolean isAfter(CompletableFuture<Void> before) {
        try {
            if (before != null) {
                before.get();
            }
            return true;
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            return false;
        } catch (ExecutionException error) {
            throw new IllegalStateException("never completed with an error", error);
        }
    }

    private void makeRoom(int size) {
        try {
            while (!room.tryAcquire(size, PATIENCE_MS, TimeUnit.MILLISECONDS)) {
                uploads.settle(this::report);
                if (triedAgain.get() > 0) {
                    context.timeout(COME_BACK_MS);
                    throw new RetriableException("waiting for the store: " + outage.reason());
                }
            }
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new RetriableException("interrupted while waiting for the store", error);
        }
    }

    /** Runs in the pool until the frame is stored or refused, or nobody wants it any more. */
    private void store(Frame frame, Upload upload) {
        boolean isAgain = false;
        try {
            for (long pauseMs = FIRST_PAUSE_MS; isWanted(upload); pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
                try {
                    store.put(frame);
                    outage.over();
                    upload.stored();
                    return;
                } catch (StoreAway error) {
                    if (!isWanted(upload)) {
                        return;
                    }
                    outage.noted(error.getMessage());
                    if (!isAgain) {
                        isAgain = true;
                        triedAgain.incrementAndGet();
                    }
                    pause(pauseMs);
                }
            }
        } catch (DataException error) {
            upload.refused(error);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        } catch (RuntimeException | Error error) {
            upload.failed(error);
        } finally {
            if (isAgain) {
                triedAgain.decrementAndGet();
            }
        }
    }

    private boolean isWanted(Upload upload) {
        return stopping.getCount() > 0 && !upload.isAbandoned();
    }

    /** Waits between half of the pause and all of it, so that the pool's threads do not come back all at once. */
    private void pause(long pauseMs) throws InterruptedException {
        long jittered = pauseMs / 2 + ThreadLocalRandom.current().nextLong(pauseMs / 2 + 1);
        stopping.await(jittered, TimeUnit.MILLISECONDS);
    }

    private Future<Void> report(SinkRecord record, Throwable reason) {
        if (reporter == null) {
            throw new ConnectException("a bad record at offset " + record.originalKafkaOffset()
                    + " and no dead letters configured: set errors.tolerance=all and errors.deadletterqueue.topic.name",
                    reason);
        }
        return reporter.report(record, reason);
    }

    /** Offsets move last: only past objects that are stored and dead letters that are written. */
    @Override
    public Map<TopicPartition, OffsetAndMetadata> preCommit(Map<TopicPartition, OffsetAndMetadata> consumed) {
        uploads.settle(this::report);
        return uploads.committable(consumed);
    }

    @Override
    public void close(Collection<TopicPartition> partitions) {
        uploads.abandon(partitions);
    }

    @Override
    public void stop() {
        stopping.countDown();
        if (pool != null) {
            pool.shutdownNow();
            awaitEnd();
        }
        if (store != null) {
            store.close();
        }
    }

    private void awaitEnd() {
        try {
            if (!pool.awaitTermination(LAST_PUTS_MS, TimeUnit.MILLISECONDS)) {
                LOG.warn("event=puts_cut_off reason=\"still running at the stop\"");
            }
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    public String version() {
        return PluginVersion.VERSION;
    }
}
