package sightline.connect;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;

/** What the validity rule asks of each topic's fields: the tables of contracts/validity.py, in its order. */
enum Contract {
    FRAMES("camera_id", List.of("captured_at", "source_time"),
            patterns("frame_id", Shapes.UUID7, "camera_id", Shapes.CAMERA_ID, "session_id", Shapes.UUID,
                    "sha256", Shapes.SHA256, "traceparent", Shapes.TRACEPARENT, "encoding", Shapes.text(16),
                    "object_key", Shapes.text(1024)),
            minima("width", 1, "height", 1, "size_bytes", 1, "sequence", 0),
            List.of()),
    PREDICTIONS("frame_id", List.of("captured_at", "inferred_at"),
            patterns("frame_id", Shapes.UUID7, "camera_id", Shapes.CAMERA_ID, "model_digest", Shapes.SHA256,
                    "traceparent", Shapes.TRACEPARENT, "run_id", Shapes.text(128), "model_name", Shapes.text(128),
                    "model_version", Shapes.text(128), "role", Shapes.text(128), "engine", Shapes.text(128),
                    "status", Shapes.text(128), "labels", Shapes.text(128)),
            minima(),
            List.of("latency_ms", "confidences", "boxes")),
    SESSIONS("session_id", List.of("closed_at", "started_at", "updated_at"),
            patterns("session_id", Shapes.UUID, "camera_id", Shapes.CAMERA_ID, "source", Shapes.text(2048)),
            minima("last_acknowledged", -1, "captured", 0, "rejected", 0),
            List.of());

    /** The field that equals the record's key. */
    final String keyField;

    final List<String> times;
    final Map<String, Pattern> patterns;
    final Map<String, Long> minima;
    final List<String> reals;

    Contract(String keyField, List<String> times, Map<String, Pattern> patterns, Map<String, Long> minima,
            List<String> reals) {
        this.keyField = keyField;
        this.times = times;
        this.patterns = patterns;
        this.minima = minima;
        this.reals = reals;
    }

    /** The contract of a topic's name; which names there are is in {@link #names}. */
    static Contract named(String name) {
        return valueOf(name.toUpperCase(Locale.ROOT));
    }

    static String[] names() {
        return Arrays.stream(values()).map(contract -> contract.name().toLowerCase(Locale.ROOT)).toArray(String[]::new);
    }

    private static Map<String, Pattern> patterns(Object... namesAndPatterns) {
        Map<String, Pattern> patterns = new LinkedHashMap<>();
        for (int i = 0; i < namesAndPatterns.length; i += 2) {
            patterns.put((String) namesAndPatterns[i], (Pattern) namesAndPatterns[i + 1]);
        }
        return patterns;
    }

    private static Map<String, Long> minima(Object... namesAndLeasts) {
        Map<String, Long> minima = new LinkedHashMap<>();
        for (int i = 0; i < namesAndLeasts.length; i += 2) {
            minima.put((String) namesAndLeasts[i], ((Integer) namesAndLeasts[i + 1]).longValue());
        }
        return minima;
    }

    private static final class Shapes {
        static final Pattern UUID7 =
                Pattern.compile("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}");
        static final Pattern UUID =
                Pattern.compile("[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}");
        static final Pattern CAMERA_ID = Pattern.compile("[a-z0-9][a-z0-9._-]{0,62}");
        static final Pattern SHA256 = Pattern.compile("[0-9a-f]{64}");
        static final Pattern TRACEPARENT = Pattern.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}");

        /** 1 to longest characters (code points). */
        static Pattern text(int longest) {
            return Pattern.compile(".{1," + longest + "}", Pattern.DOTALL);
        }
    }
}
