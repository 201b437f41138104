package sightline.connect;

import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Map;
import java.util.Optional;

/**
 * Where a frame's image lies, computed from the frame alone, so that a redelivery ends as the same object.
 *
 * <pre>{@code date=YYYY-MM-DD/camera=<camera_id>/<frame_id>.<jpg|png>}      the date is captured_at's, in UTC</pre>
 */
final class ObjectKeys {

    private static final Map<String, String> EXTENSIONS = Map.of("jpeg", "jpg", "png", "png");
    private static final DateTimeFormatter DAY = DateTimeFormatter.ISO_LOCAL_DATE.withZone(ZoneOffset.UTC);

    private ObjectKeys() {}

    /** The key of a frame's image, or nothing where the encoding has no extension here. */
    static Optional<String> of(long capturedAtMs, String cameraId, String frameId, String encoding) {
        return Optional.ofNullable(EXTENSIONS.get(encoding))
                .map(extension -> "date=" + DAY.format(Instant.ofEpochMilli(capturedAtMs)) + "/camera=" + cameraId
                        + "/" + frameId + "." + extension);
    }
}
