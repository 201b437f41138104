package sightline.connect;

import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.time.Instant;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.regex.Pattern;
import org.apache.kafka.connect.data.Field;

/**
 * The one validity rule, as contracts/validity.py has it; contracts/vectors/validity.json binds the two. The checks
 * run in this order and the first failure wins:
 *
 * <pre>
 * not_a_record, key_mismatch, unstorable_text, time_out_of_range, bad_id, bad_number, frame_time_mismatch,
 *   frames:      captured_at_out_of_window, unknown_encoding, object_key_mismatch,
 *                image_missing, size_mismatch, too_large, sha256_mismatch
 *   predictions: unequal_arrays
 * </pre>
 */
final class ValidityRule {

    static final int MAX_IMAGE_BYTES = 4 * 1024 * 1024;

    private static final Duration CLOCK_SKEW = Duration.ofMinutes(10);
    /** The end of the year 9999: what Python, Postgres and Java all hold. */
    private static final long LAST_STORABLE_MS = 253_402_300_799_999L;
    /** NUL is the one character that Postgres text cannot hold; half a surrogate pair is no character at all. */
    private static final Pattern UNSTORABLE = Pattern.compile("[\\x00\\x{D800}-\\x{DFFF}]");

    private final Contract contract;
    private final Duration retention;

    /** @param retention how old a frame may be at the broker */
    ValidityRule(Contract contract, Duration retention) {
        this.contract = contract;
        this.retention = retention;
    }

    /**
     * Checks one record.
     *
     * @param brokerTimeMs the record's own timestamp (LogAppendTime), never this machine's clock, so that all
     *     consumers agree whenever they run
     * @throws Violation the first rule that the record breaks
     */
    void check(Object key, Object value, Long brokerTimeMs) {
        Fields record = Fields.of(value);
        if (!record.text(contract.keyField).equals(key)) {
            throw new Violation("key_mismatch", "the record's key is not its " + contract.keyField);
        }
        checkStorable(record);
        checkPatterns(record);
        checkNumbers(record);
        if (contract == Contract.SESSIONS) {
            return;
        }
        if (millisecondsOf(record.text("frame_id")) != record.time("captured_at")) {
            throw new Violation("frame_time_mismatch", "the time in frame_id is not captured_at");
        }
        if (contract == Contract.FRAMES) {
            checkWindow(record.time("captured_at"), brokerTimeMs);
            checkObjectKey(record);
            checkImage(record);
        } else {
            checkArrays(record);
        }
    }

    private void checkStorable(Fields record) {
        for (Field field : record.all()) {
            for (Object text : elements(record.get(field))) {
                if (text instanceof String string && UNSTORABLE.matcher(string).find()) {
                    throw new Violation("unstorable_text",
                            field.name() + " holds a character that Postgres cannot store");
                }
            }
        }
        for (String name : contract.times) {
            Long time = record.optionalTime(name);
            if (time != null && (time < 0 || time > LAST_STORABLE_MS)) {
                throw new Violation("time_out_of_range", name + " is not between the years 1970 and 9999");
            }
        }
    }

    private void checkPatterns(Fields record) {
        contract.patterns.forEach((name, pattern) -> {
            List<?> texts = name.equals("labels") ? record.list(name) : elements(record.optionalText(name));
            for (Object text : texts) {
                if (!pattern.matcher((String) text).matches()) {
                    throw new Violation("bad_id", name + " '" + start((String) text) + "' does not match its pattern");
                }
            }
        });
    }

    private void checkNumbers(Fields record) {
        contract.minima.forEach((name, least) -> {
            long number = record.number(name);
            if (number < least) {
                throw new Violation("bad_number", name + " is " + number + ", the least is " + least);
            }
        });
        for (String name : contract.reals) {
            List<?> numbers = name.equals("latency_ms") ? List.of(record.real(name)) : record.list(name);
            for (Object number : numbers) {
                if (!Double.isFinite(((Number) number).doubleValue())) {
                    throw new Violation("bad_number", name + " holds a number that is not finite");
                }
            }
        }
    }

    private void checkWindow(long capturedAtMs, Long brokerTimeMs) {
        if (brokerTimeMs == null || capturedAtMs < brokerTimeMs - retention.toMillis()
                || capturedAtMs > brokerTimeMs + CLOCK_SKEW.toMillis()) {
            throw new Violation("captured_at_out_of_window", "captured_at " + Instant.ofEpochMilli(capturedAtMs)
                    + " is more than " + retention.toDays() + " days before, or more than "
                    + CLOCK_SKEW.toMinutes() + " minutes after, the broker's time");
        }
    }

    private static void checkObjectKey(Fields record) {
        String encoding = record.text("encoding");
        Optional<String> expected = ObjectKeys.of(
                record.time("captured_at"), record.text("camera_id"), record.text("frame_id"), encoding);
        if (expected.isEmpty()) {
            throw new Violation("unknown_encoding", "encoding '" + encoding + "' is neither jpeg nor png");
        }
        if (!expected.get().equals(record.text("object_key"))) {
            throw new Violation("object_key_mismatch", "object_key is not " + expected.get());
        }
    }

    private static void checkImage(Fields record) {
        byte[] image = record.optionalBytes("image");
        if (image == null || image.length == 0) {
            throw new Violation("image_missing", "the record holds no image");
        }
        long size = record.number("size_bytes");
        if (size != image.length) {
            throw new Violation("size_mismatch", "size_bytes is " + size + ", the image has " + image.length);
        }
        if (image.length > MAX_IMAGE_BYTES) {
            throw new Violation("too_large",
                    "the image has " + image.length + " bytes, the limit is " + MAX_IMAGE_BYTES);
        }
        if (!sha256(image).equals(record.text("sha256"))) {
            throw new Violation("sha256_mismatch", "sha256 is not that of the image's bytes");
        }
    }

    private static void checkArrays(Fields record) {
        int labels = record.list("labels").size();
        int confidences = record.list("confidences").size();
        int boxes = record.list("boxes").size();
        if (confidences != labels || boxes != 4 * labels) {
            throw new Violation("unequal_arrays", labels + " labels, " + confidences + " confidences, " + boxes
                    + " box coordinates (4 per label)");
        }
    }

    /** The sha256 of the bytes, in lower-case hex. */
    static String sha256(byte[] bytes) {
        try {
            return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException("every Java runtime has SHA-256", error);
        }
    }

    /** Milliseconds since 1970 in a UUIDv7's first 48 bits. */
    private static long millisecondsOf(String uuid7) {
        return Long.parseLong(uuid7.substring(0, 8) + uuid7.substring(9, 13), 16);
    }

    private static List<?> elements(Object value) {
        if (value == null) {
            return List.of();
        }
        return value instanceof List<?> list ? list : List.of(value);
    }

    private static String start(String text) {
        return text.length() <= 80 ? text : text.substring(0, 80) + "…";
    }
}
