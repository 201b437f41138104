package sightline.connect;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.apache.kafka.common.config.ConfigException;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.sink.SinkRecord;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

class ValidRecordTest {

    private static final Path VECTORS = Path.of("../../contracts/vectors/validity.json");

    @TestFactory
    Stream<DynamicTest> every_vector_has_the_outcome_that_python_gives_it() throws IOException {
        List<JsonNode> vectors = new ArrayList<>();
        new ObjectMapper().readTree(VECTORS.toFile()).forEach(vectors::add);
        assertTrue(vectors.size() >= 80, "only " + vectors.size() + " vectors");
        return vectors.stream().map(vector -> DynamicTest.dynamicTest(
                vector.get("contract").asText() + ": " + vector.get("name").asText(),
                () -> assertEquals(vector.get("outcome").asText(), outcome(vector))));
    }

    private static String outcome(JsonNode vector) {
        String contract = vector.get("contract").asText();
        Map<String, Object> values = new HashMap<>();
        vector.get("record").properties().forEach(field -> values.put(field.getKey(), plain(field.getValue())));
        return codeOf(contract, new SinkRecord(contract, 0, Schema.STRING_SCHEMA, plain(vector.get("key")),
                Records.SCHEMAS.get(contract), Records.struct(contract, values), 0,
                vector.get("broker_timestamp_ms").asLong(), TimestampType.LOG_APPEND_TIME));
    }

    private static Object plain(JsonNode node) {
        if (node.has("base64")) {
            return ByteBuffer.wrap(Base64.getDecoder().decode(node.get("base64").asText()));
        }
        if (node.has("float")) {
            return switch (node.get("float").asText()) {
                case "nan" -> Double.NaN;
                case "inf" -> Double.POSITIVE_INFINITY;
                case "-inf" -> Double.NEGATIVE_INFINITY;
                default -> throw new IllegalArgumentException(node.toString());
            };
        }
        if (node.isArray()) {
            List<Object> list = new ArrayList<>();
            node.forEach(item -> list.add(plain(item)));
            return list;
        }
        if (node.isNull()) {
            return null;
        }
        return node.isNumber() ? (Object) node.numberValue() : node.asText();
    }

    private static String codeOf(String contract, SinkRecord record) {
        try (ValidRecord<SinkRecord> check = checkOf(contract)) {
            assertSame(record, check.apply(record));
            return "ok";
        } catch (Violation violation) {
            assertTrue(violation.getMessage().startsWith(violation.code() + ": "), violation.getMessage());
            return violation.code();
        }
    }

    private static ValidRecord<SinkRecord> checkOf(String contract) {
        ValidRecord<SinkRecord> check = new ValidRecord<>();
        check.configure(Map.of("contract", contract));
        return check;
    }

    private static String codeOf(Map<String, Object> frame) {
        return codeOf("frames", Records.sinkRecord(0, Records.struct("frames", frame)));
    }

    @Test
    void a_tombstone_and_a_plain_value_are_no_records() {
        assertEquals("not_a_record", codeOf("frames", Records.sinkRecord(0, null)));
        assertEquals("not_a_record", codeOf("frames", Records.sinkRecord(0, "text")));
    }

    @Test
    void a_record_of_another_schema_is_no_record() {
        Schema other = SchemaBuilder.struct().field("camera_id", Schema.STRING_SCHEMA).build();
        Struct value = new Struct(other).put("camera_id", Records.CAMERA);
        assertEquals("not_a_record", codeOf("frames", Records.sinkRecord(0, value)));
    }

    @Test
    void a_field_of_another_type_is_no_record() {
        Schema other = SchemaBuilder.struct().field("camera_id", Schema.INT32_SCHEMA).build();
        Struct value = new Struct(other).put("camera_id", 7);
        assertEquals("not_a_record", codeOf("frames", Records.sinkRecord(0, value)));
    }

    @Test
    void half_a_surrogate_pair_is_unstorable_and_a_whole_one_is_not() {
        Map<String, Object> frame = Records.frame(1, new byte[] {1});
        frame.put("encoding", "\ud83d");
        assertEquals("unstorable_text", codeOf(frame));
        frame.put("encoding", "\ud83d\ude00");
        assertEquals("unknown_encoding", codeOf(frame));
    }

    @Test
    void an_image_of_the_largest_size_passes_and_one_byte_more_is_too_large() {
        assertEquals("ok", codeOf(Records.frame(1, new byte[ValidityRule.MAX_IMAGE_BYTES])));
        assertEquals("too_large", codeOf(Records.frame(1, new byte[ValidityRule.MAX_IMAGE_BYTES + 1])));
    }

    @Test
    void an_image_is_read_from_a_part_of_a_buffer() {
        Map<String, Object> frame = Records.frame(1, new byte[] {2, 3});
        frame.put("image", ByteBuffer.wrap(new byte[] {1, 2, 3, 4}, 1, 2).slice());
        assertEquals("ok", codeOf(frame));
    }

    @Test
    void the_retention_is_a_setting() {
        Map<String, Object> frame = Records.frame(1, new byte[] {1});
        SinkRecord late = new SinkRecord("frames", 0, Schema.STRING_SCHEMA, Records.CAMERA, null,
                Records.struct("frames", frame), 0, Records.NOW_MS + 2 * 86_400_000L, TimestampType.LOG_APPEND_TIME);
        assertEquals("ok", codeOf("frames", late));
        ValidRecord<SinkRecord> check = new ValidRecord<>();
        check.configure(Map.of("contract", "frames", "retention.days", "1"));
        assertEquals("captured_at_out_of_window", assertThrows(Violation.class, () -> check.apply(late)).code());
    }

    @Test
    void a_contract_that_is_none_is_refused_at_the_start() {
        ValidRecord<SinkRecord> check = new ValidRecord<>();
        assertThrows(ConfigException.class, () -> check.configure(Map.of("contract", "reviews")));
        assertThrows(ConfigException.class, () -> check.configure(Map.of()));
    }
}
