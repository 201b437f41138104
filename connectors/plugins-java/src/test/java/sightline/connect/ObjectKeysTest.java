package sightline.connect;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Optional;
import org.junit.jupiter.api.Test;

class ObjectKeysTest {

    @Test
    void the_day_is_that_of_utc() {
        assertEquals(Optional.of("date=2026-01-01/camera=c/f.jpg"), ObjectKeys.of(1767311999999L, "c", "f", "jpeg"));
        assertEquals(Optional.of("date=2026-01-02/camera=c/f.png"), ObjectKeys.of(1767312000000L, "c", "f", "png"));
    }

    @Test
    void the_ends_of_time_have_a_day_too() {
        assertEquals(Optional.of("date=1970-01-01/camera=c/f.jpg"), ObjectKeys.of(0, "c", "f", "jpeg"));
        assertEquals(
                Optional.of("date=9999-12-31/camera=c/f.jpg"), ObjectKeys.of(253402300799999L, "c", "f", "jpeg"));
    }

    @Test
    void an_encoding_without_an_extension_has_no_key() {
        assertEquals(Optional.empty(), ObjectKeys.of(0, "c", "f", "webp"));
    }
}
