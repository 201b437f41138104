package sightline.connect;

import io.apicurio.registry.resolver.config.SchemaResolverConfig;
import io.apicurio.registry.serde.avro.AvroSerdeConfig;
import io.apicurio.registry.serde.config.SerdeConfig;
import io.apicurio.registry.utils.converter.AvroConverter;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.ConfigDef.Importance;
import org.apache.kafka.common.config.ConfigDef.Range;
import org.apache.kafka.common.config.ConfigDef.Type;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.errors.DataException;
import org.apache.kafka.connect.storage.Converter;

/**
 * Apicurio's Avro converter, made safe for {@code errors.tolerance=all}: only a bad record fails.
 *
 * <pre>
 * bytes ──► magic 0, schema id ──► registry (waited for, see PatientSchemaResolver) ──► Avro ──► Connect data
 *       ──► DataException: no schema id, an unknown one, or bytes that its schema cannot read
 * </pre>
 *
 * The wire format is Confluent's; the id is Apicurio's content id, which is what ccompat v7 gives to clients.
 * Headers are not looked at: the converter below would let a record's header change how all later ones are read.
 */
public class RetryingAvroConverter implements Converter {

    private static final ConfigDef CONFIG = new ConfigDef()
            .define(SchemaResolverConfig.REGISTRY_URL, Type.STRING, ConfigDef.NO_DEFAULT_VALUE,
                    new ConfigDef.NonEmptyString(), Importance.HIGH,
                    "Where the registry answers, such as http://127.0.0.1:8080/apis/registry/v3.")
            .define(PatientSchemaResolver.TIMEOUT_MS, Type.INT, 10_000, Range.atLeast(100), Importance.LOW,
                    "How long the registry may take to answer before it is asked again.");

    private static final int HEADER_BYTES = 5;
    /** No record is larger; a length beyond it is garbage, and reserving the memory for it would end the worker. */
    private static final int LONGEST_VALUE = 8 * 1024 * 1024;
    private static final int MOST_ELEMENTS = 1_000_000;

    private final AvroConverter<Object> delegate = new AvroConverter<>();

    @Override
    public void configure(Map<String, ?> configs, boolean isKey) {
        limitAvro();
        Map<String, Object> settings = new HashMap<>(configs);
        settings.put(SerdeConfig.SCHEMA_RESOLVER, PatientSchemaResolver.class.getName());
        settings.put(AvroSerdeConfig.AVRO_DATUM_PROVIDER, StrictDatumProvider.class.getName());
        delegate.configure(settings, isKey);
    }

    /** Avro reads these once, from the system properties. What an administrator set stays. */
    private static void limitAvro() {
        System.getProperties().putIfAbsent("org.apache.avro.limits.bytes.maxLength", "" + LONGEST_VALUE);
        System.getProperties().putIfAbsent("org.apache.avro.limits.string.maxLength", "" + LONGEST_VALUE);
        System.getProperties().putIfAbsent("org.apache.avro.limits.collectionItems.maxLength", "" + MOST_ELEMENTS);
    }

    @Override
    public SchemaAndValue toConnectData(String topic, Headers headers, byte[] bytes) {
        return toConnectData(topic, bytes);
    }

    /**
     * Decodes one record; null stays null.
     *
     * @throws DataException the record is bad; its message says how
     */
    @Override
    public SchemaAndValue toConnectData(String topic, byte[] bytes) {
        if (bytes == null) {
            return SchemaAndValue.NULL;
        }
        if (bytes.length < HEADER_BYTES || bytes[0] != 0) {
            throw new DataException("undecodable: " + bytes.length + " bytes that do not begin with 0 and a schema id");
        }
        try {
            return delegate.toConnectData(topic, bytes);
        } catch (DataException error) {
            throw error;
        } catch (RuntimeException error) {
            throw new DataException("undecodable: its schema cannot read it: " + rootOf(error), error);
        }
    }

    private static Throwable rootOf(Throwable error) {
        return error.getCause() == null ? error : rootOf(error.getCause());
    }

    @Override
    public byte[] fromConnectData(String topic, Schema schema, Object value) {
        return delegate.fromConnectData(topic, schema, value);
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
        delegate.close();
    }
}
