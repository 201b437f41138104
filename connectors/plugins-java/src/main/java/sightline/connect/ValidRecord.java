package sightline.connect;

import java.time.Duration;
import java.util.Map;
import org.apache.kafka.common.config.AbstractConfig;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.ConfigDef.Importance;
import org.apache.kafka.common.config.ConfigDef.Range;
import org.apache.kafka.common.config.ConfigDef.Type;
import org.apache.kafka.common.config.ConfigDef.ValidString;
import org.apache.kafka.connect.connector.ConnectRecord;
import org.apache.kafka.connect.errors.DataException;
import org.apache.kafka.connect.transforms.Transformation;

/**
 * Passes valid records on untouched and refuses the others with a {@link DataException} whose message is
 * {@code <code>: <detail>}; with {@code errors.tolerance=all} Connect writes those to the dead letters.
 *
 * @param <R> the kind of record
 */
public class ValidRecord<R extends ConnectRecord<R>> implements Transformation<R> {

    static final String CONTRACT = "contract";
    static final String RETENTION_DAYS = "retention.days";

    private static final ConfigDef CONFIG = new ConfigDef()
            .define(CONTRACT, Type.STRING, ConfigDef.NO_DEFAULT_VALUE, ValidString.in(Contract.names()),
                    Importance.HIGH, "The contract of the topic: which fields there are and what they may hold.")
            .define(RETENTION_DAYS, Type.INT, 90, Range.atLeast(1), Importance.MEDIUM,
                    "How many days before the broker's time a frame may have been captured.");

    private ValidityRule rule;

    @Override
    public void configure(Map<String, ?> properties) {
        AbstractConfig config = new AbstractConfig(CONFIG, properties, false);
        rule = new ValidityRule(
                Contract.named(config.getString(CONTRACT)), Duration.ofDays(config.getInt(RETENTION_DAYS)));
    }

    @Override
    public R apply(R record) {
        rule.check(record.key(), record.value(), record.timestamp());
        return record;
    }

    @Override
    public ConfigDef config() {
        return CONFIG;
    }

    @Override
    public String version() {
        return PluginVersion.VERSION;
    }

    @Override
    public void close() {
        // Holds nothing.
    }
}
