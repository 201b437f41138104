package sightline.connect;

import java.io.ByteArrayInputStream;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.retry.AwsRetryStrategy;
import software.amazon.awssdk.core.checksums.RequestChecksumCalculation;
import software.amazon.awssdk.core.checksums.ResponseChecksumValidation;
import software.amazon.awssdk.core.exception.SdkException;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.http.apache.ApacheHttpClient;
import software.amazon.awssdk.profiles.ProfileFile;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.S3Configuration;
import software.amazon.awssdk.services.s3.model.HeadObjectResponse;
import software.amazon.awssdk.services.s3.model.NoSuchKeyException;
import software.amazon.awssdk.services.s3.model.PutObjectRequest;
import software.amazon.awssdk.services.s3.model.S3Exception;

/**
 * Puts frames into one bucket; the first stored wins.
 *
 * <pre>
 * put if new ──► 200                            stored
 *            ──► 412, or the connection broke
 *                  ─► head ─► the same bytes    stored already
 *                          ─► other bytes       Violation, a bad record
 *                          ─► no object         StoreAway; at the second time put over, see putOver
 *            ──► 413, or 400 with a code that speaks of the object      Violation, a bad record
 *            ──► anything else                  StoreAway: try again
 * </pre>
 */
final class FrameStore implements AutoCloseable {

    /**
     * Codes of status 400 that speak of the object itself. Whatever else a store answers with 400 (a full quota, a
     * clock, a setting) is waited for: a good record must not be refused for it.
     */
    private static final Set<String> OF_THE_RECORD = Set.of(
            "EntityTooLarge", "EntityTooSmall", "KeyTooLong", "KeyTooLongError", "MetadataTooLarge");

    private static final Duration CONNECT = Duration.ofSeconds(5);

    private static final Logger LOG = LoggerFactory.getLogger(FrameStore.class);

    /** Keys whose conditional put failed once although there is no object. */
    private final Set<String> doubtful = ConcurrentHashMap.newKeySet();
    private final S3Client client;
    private final String bucket;

    FrameStore(FrameS3SinkConfig config) {
        bucket = config.getString(FrameS3SinkConfig.BUCKET);
        Duration timeout = Duration.ofMillis(config.getInt(FrameS3SinkConfig.TIMEOUT_MS));
        client = S3Client.builder()
                .endpointOverride(config.endpoint())
                .region(Region.of(config.getString(FrameS3SinkConfig.REGION)))
                .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create(
                        config.getString(FrameS3SinkConfig.ACCESS_KEY),
                        config.getPassword(FrameS3SinkConfig.SECRET_KEY).value())))
                .forcePathStyle(true)
                // Each put carries the sha256 that the record names, so the SDK need not compute another checksum,
                // and the body goes out as it is, in one piece.
                .requestChecksumCalculation(RequestChecksumCalculation.WHEN_REQUIRED)
                .responseChecksumValidation(ResponseChecksumValidation.WHEN_REQUIRED)
                .serviceConfiguration(S3Configuration.builder().chunkedEncodingEnabled(false).build())
                .httpClientBuilder(ApacheHttpClient.builder()
                        .maxConnections(config.getInt(FrameS3SinkConfig.PARALLEL))
                        .connectionTimeout(timeout.compareTo(CONNECT) < 0 ? timeout : CONNECT)
                        .socketTimeout(timeout))
                .overrideConfiguration(override -> override
                        .apiCallAttemptTimeout(timeout)
                        // The task tries again by itself, and may be stopped meanwhile.
                        .retryStrategy(AwsRetryStrategy.doNotRetry())
                        // Nothing but this connector's settings decides, no file in somebody's home.
                        .defaultProfileFile(ProfileFile.aggregator().build()))
                .build();
    }

    /**
     * Stores a frame, once.
     *
     * @throws Violation the store will never take this record
     * @throws StoreAway the store does not take anything just now
     */
    void put(Frame frame) throws StoreAway {
        try {
            put(frame, true);
            doubtful.remove(frame.key());
        } catch (S3Exception error) {
            if (error.statusCode() == 412) {
                compare(frame, error);
            } else {
                refuse(frame, error);
            }
        } catch (SdkException error) {
            // A store that answers 412 before it has read a large body cuts the connection, and the answer is lost.
            compare(frame, error);
        }
    }

    private void put(Frame frame, boolean onlyIfNew) {
        PutObjectRequest request = PutObjectRequest.builder()
                .bucket(bucket)
                .key(frame.key())
                .ifNoneMatch(onlyIfNew ? "*" : null)
                .contentType(frame.contentType())
                .contentLength((long) frame.image().length)
                .checksumSHA256(frame.sha256Base64())
                .metadata(frame.metadata())
                .build();
        client.putObject(request, RequestBody.fromContentProvider(
                () -> new ByteArrayInputStream(frame.image()), frame.image().length, frame.contentType()));
    }

    private static void refuse(Frame frame, S3Exception error) throws StoreAway {
        int status = error.statusCode();
        if (status == 413 || status == 400 && OF_THE_RECORD.contains(codeOf(error))) {
            throw new Violation("store_refused", frame.key() + ": " + textOf(error));
        }
        if (status == 400 && !ValidityRule.sha256(frame.image()).equals(frame.sha256())) {
            // Without ValidRecord before it, the sink is the first to look at the bytes.
            throw new Violation("sha256_mismatch", "sha256 is not that of the image's bytes");
        }
        throw away(error);
    }

    /** Returns when the store has these bytes under this key. */
    private void compare(Frame frame, SdkException why) throws StoreAway {
        HeadObjectResponse stored;
        try {
            stored = client.headObject(head -> head.bucket(bucket).key(frame.key()));
        } catch (NoSuchKeyException none) {
            putOver(frame, why);
            return;
        } catch (SdkException error) {
            throw away(why);
        }
        doubtful.remove(frame.key());
        String sha256 = stored.metadata().getOrDefault("sha256", "unknown");
        if (!sha256.equals(frame.sha256()) || stored.contentLength() != frame.image().length) {
            throw new Violation("object_conflict", "object exists with another sha256: " + frame.key() + " has "
                    + sha256 + " (" + stored.contentLength() + " bytes), this record " + frame.sha256() + " ("
                    + frame.image().length + " bytes)");
        }
    }

    /**
     * A conditional put failed, and there is no object. Once, that is an object deleted in between, or an ordinary
     * loss of the connection. Twice, it is half an object: versitygw with its metadata in a folder of their own,
     * killed before the object's name was there, refuses every conditional put of that key for ever. There is nothing
     * to lose under the key, so it is put without the condition.
     */
    private void putOver(Frame frame, SdkException why) throws StoreAway {
        if (doubtful.add(frame.key())) {
            throw away(why);
        }
        try {
            put(frame, false);
        } catch (SdkException error) {
            throw away(error);
        }
        doubtful.remove(frame.key());
        LOG.warn("event=half_object_replaced key={} reason=\"{}\"", frame.key(), textOf(why));
    }

    private static StoreAway away(SdkException error) {
        return new StoreAway(textOf(error), error);
    }

    private static String codeOf(S3Exception error) {
        String code = error.awsErrorDetails() == null ? null : error.awsErrorDetails().errorCode();
        return code == null ? "" : code;
    }

    private static String textOf(SdkException error) {
        if (!(error instanceof S3Exception answer)) {
            return String.valueOf(error.getMessage());
        }
        String detail = answer.awsErrorDetails() == null ? null : answer.awsErrorDetails().errorMessage();
        return "HTTP " + answer.statusCode() + " " + codeOf(answer) + (detail == null ? "" : " (" + detail + ")");
    }

    @Override
    public void close() {
        client.close();
    }
}
