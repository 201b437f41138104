package sightline.connect;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ServiceLoader;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.kafka.connect.sink.SinkConnector;
import org.apache.kafka.connect.storage.Converter;
import org.apache.kafka.connect.transforms.Transformation;
import org.junit.jupiter.api.Test;

/** Guards what {@code plugin.discovery=service_load} finds. */
class PluginTest {

    @Test
    void connect_finds_our_classes_and_no_others_of_this_jar() {
        assertEquals(Set.of("sightline.connect.FrameS3SinkConnector"), found(SinkConnector.class));
        assertEquals(Set.of("sightline.connect.ValidRecord"), found(Transformation.class));
        assertEquals(Set.of("sightline.connect.RetryingAvroConverter"), found(Converter.class));
    }

    private static Set<String> found(Class<?> plugin) {
        return ServiceLoader.load(plugin).stream()
                .map(found -> found.type().getName())
                .filter(name -> !name.startsWith("org.apache.kafka.")) // Connect's own, not in the plugin
                .collect(Collectors.toSet());
    }
}
