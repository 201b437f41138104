package sightline.connect;

import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.data.Timestamp;
import org.apache.kafka.connect.sink.SinkRecord;

/** Builders of records as they leave the converter. */
final class Records {

    static final long NOW_MS = 1_767_323_045_678L; // 2026-01-02T03:04:05.678Z
    static final String CAMERA = "line-1.top";

    private static final Schema TIME = Timestamp.SCHEMA;
    private static final Schema OPTIONAL_TIME = Timestamp.builder().optional().build();
    private static final Schema TEXT = Schema.STRING_SCHEMA;
    private static final Schema OPTIONAL_TEXT = Schema.OPTIONAL_STRING_SCHEMA;
    private static final Schema REALS = SchemaBuilder.array(Schema.FLOAT32_SCHEMA).build();

    static final Map<String, Schema> SCHEMAS = Map.of(
            "frames", SchemaBuilder.struct().name("sightline.Frame")
                    .field("frame_id", TEXT).field("camera_id", TEXT).field("session_id", TEXT)
                    .field("sequence", Schema.INT64_SCHEMA).field("captured_at", TIME)
                    .field("source_time", OPTIONAL_TIME).field("width", Schema.INT32_SCHEMA)
                    .field("height", Schema.INT32_SCHEMA).field("encoding", TEXT)
                    .field("size_bytes", Schema.INT32_SCHEMA).field("sha256", TEXT).field("object_key", TEXT)
                    .field("traceparent", OPTIONAL_TEXT).field("image", Schema.OPTIONAL_BYTES_SCHEMA).build(),
            "predictions", SchemaBuilder.struct().name("sightline.Prediction")
                    .field("frame_id", TEXT).field("camera_id", TEXT).field("captured_at", TIME)
                    .field("model_name", TEXT).field("model_version", TEXT).field("model_digest", TEXT)
                    .field("role", TEXT).field("run_id", OPTIONAL_TEXT).field("engine", TEXT)
                    .field("inferred_at", TIME).field("latency_ms", Schema.FLOAT32_SCHEMA).field("status", TEXT)
                    .field("labels", SchemaBuilder.array(TEXT).build()).field("confidences", REALS)
                    .field("boxes", REALS).field("traceparent", OPTIONAL_TEXT).build(),
            "sessions", SchemaBuilder.struct().name("sightline.Session")
                    .field("session_id", TEXT).field("camera_id", TEXT).field("source", TEXT)
                    .field("started_at", TIME).field("last_acknowledged", Schema.INT64_SCHEMA)
                    .field("captured", Schema.INT64_SCHEMA).field("rejected", Schema.INT64_SCHEMA)
                    .field("closed_at", OPTIONAL_TIME).field("updated_at", TIME).build());

    private Records() {}

    /** A Struct of a contract; numbers and milliseconds become what the field's type asks for. */
    static Struct struct(String contract, Map<String, Object> values) {
        Struct struct = new Struct(SCHEMAS.get(contract));
        values.forEach((name, value) -> struct.put(name, typed(struct.schema().field(name), value)));
        return struct;
    }

    private static Object typed(Field field, Object value) {
        if (value instanceof Number number) {
            if (Timestamp.LOGICAL_NAME.equals(field.schema().name())) {
                return new Date(number.longValue());
            }
            return switch (field.schema().type()) {
                case INT32 -> (Object) number.intValue();
                case FLOAT32 -> number.floatValue();
                default -> number.longValue();
            };
        }
        if (value instanceof List<?> list) {
            return list.stream().map(item -> item instanceof Number number ? (Object) number.floatValue() : item)
                    .toList();
        }
        return value;
    }

    /** The id of the n-th frame captured at NOW_MS. */
    static String frameId(int n) {
        return String.format("%08x-%04x-7abc-8def-%012x", NOW_MS >> 16, NOW_MS & 0xffff, n);
    }

    static String keyOf(int n) {
        return "date=2026-01-02/camera=" + CAMERA + "/" + frameId(n) + ".jpg";
    }

    /** The values of a valid frame, to be changed at will. */
    static Map<String, Object> frame(int n, byte[] image) {
        Map<String, Object> values = new HashMap<>();
        values.put("frame_id", frameId(n));
        values.put("camera_id", CAMERA);
        values.put("session_id", "019b7c3e-0000-7000-8000-0000000000aa");
        values.put("sequence", n);
        values.put("captured_at", NOW_MS);
        values.put("width", 640);
        values.put("height", 480);
        values.put("encoding", "jpeg");
        values.put("size_bytes", image.length);
        values.put("sha256", ValidityRule.sha256(image));
        values.put("object_key", keyOf(n));
        values.put("image", image);
        return values;
    }

    /** A record of frames, partition 0, as the consumer gives it. */
    static SinkRecord sinkRecord(long offset, Object value) {
        Schema schema = value instanceof Struct struct ? struct.schema() : null;
        return new SinkRecord("frames", 0, Schema.STRING_SCHEMA, CAMERA, schema, value, offset, NOW_MS + 250,
                TimestampType.LOG_APPEND_TIME);
    }

    static SinkRecord frameRecord(int n, byte[] image) {
        return sinkRecord(n, struct("frames", frame(n, image)));
    }
}
