package sightline.connect;

import io.apicurio.registry.serde.avro.DefaultAvroDatumProvider;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.IdentityHashMap;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.io.DatumReader;
import org.apache.avro.io.Decoder;
import org.apache.avro.util.Utf8;

/**
 * Reads Avro as the Python side does: text that is not UTF-8 is an error, where Avro's own reader would quietly put
 * U+FFFD in its place.
 *
 * @param <T> the data's type
 */
public final class StrictDatumProvider<T> extends DefaultAvroDatumProvider<T> {

    private final Map<Schema, DatumReader<T>> readers = new IdentityHashMap<>();

    @Override
    public DatumReader<T> createDatumReader(Schema schema) {
        return readers.computeIfAbsent(schema, StrictReader::new);
    }

    private static final class StrictReader<T> extends GenericDatumReader<T> {

        StrictReader(Schema schema) {
            super(schema, schema, withoutFastReader());
        }

        /** Avro's fast reader would read past the methods below. */
        private static GenericData withoutFastReader() {
            GenericData data = new GenericData();
            data.setFastReaderEnabled(false);
            return data;
        }

        @Override
        protected Object readString(Object old, Schema expected, Decoder in) throws IOException {
            Utf8 text = in.readString(null);
            ByteBuffer bytes = ByteBuffer.wrap(text.getBytes(), 0, text.getByteLength());
            return StandardCharsets.UTF_8.newDecoder().decode(bytes).toString();
        }
    }
}
