package sightline.connect;

import com.microsoft.kiota.ApiException;
import io.apicurio.registry.client.common.auth.VertXAuthFactory;
import io.apicurio.registry.resolver.DefaultSchemaResolver;
import io.apicurio.registry.resolver.ParsedSchemaImpl;
import io.apicurio.registry.resolver.SchemaLookupResult;
import io.apicurio.registry.resolver.SchemaParser;
import io.apicurio.registry.resolver.config.SchemaResolverConfig;
import io.apicurio.registry.resolver.strategy.ArtifactReference;
import io.apicurio.registry.rest.client.RegistryClient;
import io.apicurio.registry.rest.client.models.ProblemDetails;
import io.apicurio.registry.utils.IoUtil;
import io.kiota.http.vertx.VertXRequestAdapter;
import io.vertx.core.Vertx;
import io.vertx.core.VertxOptions;
import io.vertx.core.file.FileSystemOptions;
import io.vertx.ext.web.client.WebClient;
import io.vertx.ext.web.client.WebClientOptions;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.apache.kafka.common.config.ConfigException;
import org.apache.kafka.connect.errors.DataException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Looks schemas up in the registry and waits for a registry that is away, without limit.
 *
 * <pre>
 * schema id ──► known                           the schema; ids never change, so it is asked for once
 *           ──► the registry has no such id     DataException   a bad record
 *           ──► a text that is no Avro schema   DataException   a bad record; only the asking is repeated
 *           ──► anything else                   ask again: no connection, a timeout, 5xx, 401, a wrong address
 * </pre>
 *
 * The waiting is done here, and not by throwing a RetriableException at Connect: when a task is stopped while Connect
 * retries, Connect writes the record to the dead letters, and the rest of the batch after it, good as they are.
 * Here a stop ends as an Error, which Connect does not take for a fault of the record: nothing is committed.
 *
 * @param <S> the schema's type
 * @param <T> the data's type
 */
public final class PatientSchemaResolver<S, T> extends DefaultSchemaResolver<S, T> {

    private static final Logger LOG = LoggerFactory.getLogger(PatientSchemaResolver.class);
    private static final long FIRST_PAUSE_MS = 200;
    private static final long LONGEST_PAUSE_MS = 5_000;
    private static final int DEFAULT_TIMEOUT_MS = 10_000;

    /** How long the registry may take to answer, in ms. The client's own default is for ever. */
    static final String TIMEOUT_MS = "registry.timeout.ms";

    private final Map<Long, SchemaLookupResult<S>> known = new HashMap<>();
    private final Outage outage = new Outage(LOG, "registry");

    @Override
    public void configure(Map<String, ?> configs, SchemaParser<S, T> parser) {
        if (internalReference == null) {
            internalReference = Vertx.vertx(new VertxOptions()
                    .setEventLoopPoolSize(1)
                    .setWorkerPoolSize(1)
                    .setInternalBlockingPoolSize(1)
                    .setFileSystemOptions(new FileSystemOptions()
                            .setFileCachingEnabled(false)
                            .setClassPathResolvingEnabled(false)));
            setClient(client(internalReference, configs));
        }
        super.configure(configs, parser);
    }

    private static RegistryClient client(Vertx vertx, Map<String, ?> configs) {
        SchemaResolverConfig config = new SchemaResolverConfig(configs);
        if (config.getRegistryUrl() == null) {
            throw new ConfigException(SchemaResolverConfig.REGISTRY_URL, null, "say where the registry answers");
        }
        if (config.getTokenEndpoint() != null) {
            throw new ConfigException(SchemaResolverConfig.AUTH_TOKEN_ENDPOINT, config.getTokenEndpoint(),
                    "the registry's login by token is not supported here: use a user name and password");
        }
        Object given = configs.get(TIMEOUT_MS);
        int timeoutMs = given == null ? DEFAULT_TIMEOUT_MS : Integer.parseInt(given.toString());
        WebClientOptions options = new WebClientOptions()
                .setConnectTimeout(timeoutMs)
                .setIdleTimeout(timeoutMs)
                .setIdleTimeoutUnit(TimeUnit.MILLISECONDS);
        WebClient web = config.getAuthUsername() == null
                ? WebClient.create(vertx, options)
                : VertXAuthFactory.buildSimpleAuthWebClient(
                        vertx, options, config.getAuthUsername(), config.getAuthPassword());
        VertXRequestAdapter adapter = new VertXRequestAdapter(web);
        adapter.setBaseUrl(config.getRegistryUrl());
        return new RegistryClient(adapter);
    }

    /**
     * The schema that a record names.
     *
     * @throws DataException the registry answers that it has no such schema
     * @throws StoppedWhileWaiting the task is stopped meanwhile
     */
    @Override
    public SchemaLookupResult<S> resolveSchemaByArtifactReference(ArtifactReference reference) {
        long id = reference.getContentId();
        SchemaLookupResult<S> schema = known.get(id);
        if (schema == null) {
            schema = waitFor(id);
            known.put(id, schema);
        }
        return schema;
    }

    private SchemaLookupResult<S> waitFor(long id) {
        for (long pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
            try {
                byte[] text = fetch(id);
                outage.over();
                return parsed(id, text);
            } catch (DataException error) {
                throw error;
            } catch (RuntimeException error) {
                if (isInterrupted(error)) {
                    throw new StoppedWhileWaiting(error);
                }
                if (isOfTheRecord(error)) {
                    outage.over();
                    throw new DataException("unknown_schema: the registry has no schema with id " + id, error);
                }
                outage.noted(String.valueOf(rootOf(error)));
                pause(pauseMs);
            }
        }
    }

    /** Asks once. Not by way of the parent's cache, which prints a stack trace for each failure. */
    private byte[] fetch(long id) {
        return IoUtil.toBytes(client.ids().contentIds().byContentId(id).get());
    }

    /** Asking again would bring the same text: whatever the parser throws, the record that names it is bad. */
    private SchemaLookupResult<S> parsed(long id, byte[] text) {
        try {
            ParsedSchemaImpl<S> schema = new ParsedSchemaImpl<S>()
                    .setRawSchema(text)
                    .setParsedSchema(schemaParser.parseSchema(text, Map.of()));
            return SchemaLookupResult.<S>builder().contentId(id).parsedSchema(schema).build();
        } catch (RuntimeException | StackOverflowError error) {
            throw new DataException("unknown_schema: the registry's schema with id " + id + " is not Avro", error);
        }
    }

    private static void pause(long pauseMs) {
        try {
            Thread.sleep(pauseMs);
        } catch (InterruptedException error) {
            throw new StoppedWhileWaiting(error);
        }
    }

    private static boolean isOfTheRecord(RuntimeException error) {
        return causes(error).anyMatch(cause -> cause instanceof ApiException answer && isUnknownId(answer));
    }

    /** The registry says so in its own words: a 404 for a path that is not there is a wrong address, or a proxy's. */
    private static boolean isUnknownId(ApiException answer) {
        return answer.getResponseStatusCode() == 404
                && answer instanceof ProblemDetails problem
                && problem.getName() != null
                && problem.getName().endsWith("NotFoundException")
                && !problem.getName().equals("NotFoundException");
    }

    private static boolean isInterrupted(RuntimeException error) {
        return Thread.currentThread().isInterrupted()
                || causes(error).anyMatch(InterruptedException.class::isInstance);
    }

    private static Throwable rootOf(Throwable error) {
        return causes(error).reduce(error, (outer, inner) -> inner);
    }

    private static Stream<Throwable> causes(Throwable error) {
        return Stream.iterate(error, cause -> cause != null, Throwable::getCause);
    }

    /** Not an Exception on purpose: Connect tolerates those, and would take the record for a bad one. */
    static final class StoppedWhileWaiting extends Error {

        StoppedWhileWaiting(Throwable cause) {
            super("stopped while waiting for the registry", cause);
            Thread.currentThread().interrupt();
        }
    }
}
