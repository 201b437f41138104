package sightline.connect;

/** The version that Connect shows for our plugins: that of the jar. */
final class PluginVersion {

    static final String VERSION = version(PluginVersion.class.getPackage().getImplementationVersion());

    private PluginVersion() {}

    private static String version(String fromManifest) {
        return fromManifest == null ? "undefined" : fromManifest;
    }
}
