package sightline.connect;

import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Base64;
import java.util.HexFormat;
import java.util.Map;

/**
 * One image and what its object needs.
 *
 * @param key the object's key
 * @param sha256 of the image's bytes, lower-case hex
 * @param contentType image/jpeg or image/png
 * @param metadata the object's user metadata
 */
record Frame(String key, byte[] image, String sha256, String contentType, Map<String, String> metadata) {

    /** Always with milliseconds, unlike Instant's own text. */
    private static final DateTimeFormatter TIME =
            DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC);

    /**
     * The frame in a record of {@code frames}.
     *
     * @throws Violation the record holds no storable frame, or names another key than the one computed from it
     */
    static Frame of(Object value) {
        Fields record = Fields.of(value);
        String encoding = record.text("encoding");
        String camera = record.text("camera_id");
        long capturedAtMs = record.time("captured_at");
        String key = ObjectKeys.of(capturedAtMs, camera, record.text("frame_id"), encoding)
                .orElseThrow(() -> new Violation("unknown_encoding", "encoding '" + encoding + "'"));
        if (!key.equals(record.text("object_key"))) {
            throw new Violation("object_key_mismatch", "object_key is not " + key);
        }
        byte[] image = record.optionalBytes("image");
        if (image == null || image.length == 0) {
            throw new Violation("image_missing", "the record holds no image");
        }
        String sha256 = record.text("sha256");
        if (!Contract.FRAMES.patterns.get("sha256").matcher(sha256).matches()) {
            throw new Violation("bad_id", "sha256 does not match its pattern");
        }
        String capturedAt = TIME.format(Instant.ofEpochMilli(capturedAtMs));
        return new Frame(key, image, sha256, "image/" + encoding,
                Map.of("sha256", sha256, "camera", camera, "captured_at", capturedAt));
    }

    /** The digest as the store's checksum header wants it. */
    String sha256Base64() {
        return Base64.getEncoder().encodeToString(HexFormat.of().parseHex(sha256));
    }
}
