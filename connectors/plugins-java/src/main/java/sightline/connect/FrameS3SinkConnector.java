package sightline.connect;

import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.Task;
import org.apache.kafka.connect.sink.SinkConnector;

/**
 * Stores the image of each record of {@code frames} as one object. Its tasks promise: an offset is committed only
 * after its object is stored or its record is in the dead letters; see {@link FrameS3SinkTask}.
 */
public class FrameS3SinkConnector extends SinkConnector {

    private Map<String, String> properties;

    @Override
    public void start(Map<String, String> newProperties) {
        // Only the settings are checked. The store may be away at the start; the tasks wait for it.
        new FrameS3SinkConfig(newProperties);
        properties = Map.copyOf(newProperties);
    }

    @Override
    public Class<? extends Task> taskClass() {
        return FrameS3SinkTask.class;
    }

    @Override
    public List<Map<String, String>> taskConfigs(int maxTasks) {
        return Collections.nCopies(maxTasks, properties);
    }

    @Override
    public void stop() {
        // Holds nothing.
    }

    @Override
    public ConfigDef config() {
        return FrameS3SinkConfig.DEFINITION;
    }

    @Override
    public String version() {
        return PluginVersion.VERSION;
    }
}
