package sightline.connect;

import java.nio.ByteBuffer;
import java.util.Date;
import java.util.List;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.Struct;

/**
 * Reads a Struct's fields as the types of the contracts. A field that is missing, null where it must not be, or of
 * another type makes the record not one of this contract: {@code not_a_record}.
 */
final class Fields {

    private final Struct struct;

    Fields(Struct struct) {
        this.struct = struct;
    }

    /** The fields of a record's value. */
    static Fields of(Object value) {
        if (value instanceof Struct struct) {
            return new Fields(struct);
        }
        throw new Violation("not_a_record", value == null ? "the value is null" : "the value is a " + nameOf(value));
    }

    List<Field> all() {
        return struct.schema().fields();
    }

    Object get(Field field) {
        return struct.get(field);
    }

    String text(String name) {
        return required(name, optionalText(name));
    }

    String optionalText(String name) {
        return as(String.class, name);
    }

    /** int or long. */
    long number(String name) {
        return required(name, as(Number.class, name)).longValue();
    }

    /** float or double. */
    double real(String name) {
        return required(name, as(Number.class, name)).doubleValue();
    }

    /** Milliseconds since 1970. */
    long time(String name) {
        return required(name, optionalTime(name));
    }

    Long optionalTime(String name) {
        Object value = as(Object.class, name);
        if (value == null || value instanceof Long) {
            return (Long) value;
        }
        if (value instanceof Date date) {
            return date.getTime();
        }
        throw mistyped(name, value);
    }

    List<?> list(String name) {
        return required(name, as(List.class, name));
    }

    /** The bytes, not copied where they are a whole array already; null where there are none. */
    byte[] optionalBytes(String name) {
        Object value = as(Object.class, name);
        if (value == null || value instanceof byte[]) {
            return (byte[]) value;
        }
        if (value instanceof ByteBuffer buffer) {
            if (buffer.hasArray() && buffer.arrayOffset() == 0 && buffer.position() == 0
                    && buffer.remaining() == buffer.array().length) {
                return buffer.array();
            }
            byte[] bytes = new byte[buffer.remaining()];
            buffer.duplicate().get(bytes);
            return bytes;
        }
        throw mistyped(name, value);
    }

    private <T> T as(Class<T> type, String name) {
        Field field = struct.schema().field(name);
        if (field == null) {
            throw new Violation("not_a_record", "the record has no field " + name);
        }
        Object value = struct.get(field);
        if (value != null && !type.isInstance(value)) {
            throw mistyped(name, value);
        }
        return type.cast(value);
    }

    private static <T> T required(String name, T value) {
        if (value == null) {
            throw new Violation("not_a_record", name + " is null");
        }
        return value;
    }

    private static Violation mistyped(String name, Object value) {
        return new Violation("not_a_record", name + " is a " + nameOf(value));
    }

    private static String nameOf(Object value) {
        return value.getClass().getSimpleName();
    }
}
