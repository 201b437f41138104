package sightline.connect;

import java.net.URI;
import java.util.Map;
import org.apache.kafka.common.config.AbstractConfig;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.ConfigDef.Importance;
import org.apache.kafka.common.config.ConfigDef.Range;
import org.apache.kafka.common.config.ConfigDef.Type;
import org.apache.kafka.common.config.ConfigException;

/** The settings of the frame sink. */
final class FrameS3SinkConfig extends AbstractConfig {

    static final String ENDPOINT = "s3.endpoint";
    static final String REGION = "s3.region";
    static final String BUCKET = "s3.bucket";
    static final String ACCESS_KEY = "s3.access.key";
    static final String SECRET_KEY = "s3.secret.key";
    static final String PARALLEL = "s3.parallel";
    static final String IN_FLIGHT_BYTES = "s3.in.flight.bytes";
    static final String TIMEOUT_MS = "s3.timeout.ms";

    static final ConfigDef DEFINITION = new ConfigDef()
            .define(ENDPOINT, Type.STRING, ConfigDef.NO_DEFAULT_VALUE,
                    ConfigDef.LambdaValidator.with(FrameS3SinkConfig::checkEndpoint, () -> "an http(s) URL"),
                    Importance.HIGH, "Where the store answers, such as http://127.0.0.1:9000. Addressed path-style.")
            .define(BUCKET, Type.STRING, ConfigDef.NO_DEFAULT_VALUE, new ConfigDef.NonEmptyString(),
                    Importance.HIGH, "The bucket of the frames. It is not created here.")
            .define(ACCESS_KEY, Type.STRING, ConfigDef.NO_DEFAULT_VALUE, new ConfigDef.NonEmptyString(),
                    Importance.HIGH, "The access key.")
            .define(SECRET_KEY, Type.PASSWORD, ConfigDef.NO_DEFAULT_VALUE, Importance.HIGH, "The secret key.")
            .define(REGION, Type.STRING, "us-east-1", new ConfigDef.NonEmptyString(),
                    Importance.MEDIUM, "The region that requests are signed for.")
            .define(PARALLEL, Type.INT, 16, Range.between(1, 256),
                    Importance.MEDIUM, "Puts at one time, per task.")
            .define(IN_FLIGHT_BYTES, Type.INT, 32 * 1024 * 1024, Range.atLeast(ValidityRule.MAX_IMAGE_BYTES),
                    Importance.LOW, "Image bytes waiting for the store, per task, before no further records are taken.")
            .define(TIMEOUT_MS, Type.INT, 30_000, Range.atLeast(100),
                    Importance.LOW, "How long one request may take before it is tried again.");

    FrameS3SinkConfig(Map<String, String> properties) {
        super(DEFINITION, properties, false);
    }

    URI endpoint() {
        return URI.create(getString(ENDPOINT));
    }

    private static void checkEndpoint(String name, Object value) {
        try {
            URI uri = URI.create(String.valueOf(value));
            if (("http".equals(uri.getScheme()) || "https".equals(uri.getScheme())) && uri.getHost() != null) {
                return;
            }
        } catch (IllegalArgumentException error) {
            throw new ConfigException(name, value, "is not a URL: " + error.getMessage());
        }
        throw new ConfigException(name, value, "give a URL such as http://127.0.0.1:9000");
    }
}
