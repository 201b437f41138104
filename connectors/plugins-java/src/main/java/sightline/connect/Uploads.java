package sightline.connect;

import java.util.ArrayDeque;
import java.util.Collection;
import java.util.Deque;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.connect.sink.SinkRecord;

/**
 * The uploads of each partition in the order of their offsets, so that the offset to commit is that of the first one
 * not done. Used by the task's thread only.
 */
final class Uploads {

    private static final class Partition {
        final Deque<Upload> notDone = new ArrayDeque<>();
        /** The highest offset taken. Connect delivers a batch again after a RetriableException. */
        long taken = -1;
    }

    private final Map<TopicPartition, Partition> partitions = new HashMap<>();

    boolean isTaken(SinkRecord record) {
        Partition partition = partitions.get(partitionOf(record));
        return partition != null && record.originalKafkaOffset() <= partition.taken;
    }

    void add(SinkRecord record, Upload upload) {
        Partition partition = partitions.computeIfAbsent(partitionOf(record), name -> new Partition());
        partition.notDone.addLast(upload);
        partition.taken = upload.offset();
    }

    /** Reports what was refused or failed, and forgets what is done at the head of each partition. */
    void settle(Upload.DeadLetters deadLetters) {
        for (Partition partition : partitions.values()) {
            for (Upload upload : partition.notDone) {
                upload.report(deadLetters);
            }
            while (!partition.notDone.isEmpty() && partition.notDone.peekFirst().isDone()) {
                partition.notDone.removeFirst();
            }
        }
    }

    /** The offsets that may be committed, of those consumed: nothing at or after them is lost by a crash. */
    Map<TopicPartition, OffsetAndMetadata> committable(Map<TopicPartition, OffsetAndMetadata> consumed) {
        Map<TopicPartition, OffsetAndMetadata> committable = new HashMap<>(consumed);
        committable.replaceAll((name, offset) -> {
            Partition partition = partitions.get(name);
            Upload first = partition == null ? null : partition.notDone.peekFirst();
            return first == null || first.offset() >= offset.offset() ? offset : new OffsetAndMetadata(first.offset());
        });
        return committable;
    }

    /** Forgets partitions that another task owns from now on. */
    void abandon(Collection<TopicPartition> names) {
        for (TopicPartition name : names) {
            Partition partition = partitions.remove(name);
            if (partition != null) {
                partition.notDone.forEach(Upload::abandon);
            }
        }
    }

    private static TopicPartition partitionOf(SinkRecord record) {
        return new TopicPartition(record.originalTopic(), record.originalKafkaPartition());
    }
}
