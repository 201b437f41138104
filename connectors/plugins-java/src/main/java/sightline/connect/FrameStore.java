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
 * put ──► 200                       stored
 *     ──► 412 ─► head ─► same bytes stored already
 *                     ─► other      Violation       a bad record
 *                     ─► none       half an object, put over at the second time
 *     ──► 400, 413                  Violation       a bad record, save for the codes that speak of the request's way
 *     ──► anything else             StoreAway       try again
 * </pre>
 */
final class FrameStore implements AutoCloseable {

    /** Codes of status 400 that say something about the way, the clock or the settings, not about the object. */
    private static final Set<String> NOT_THE_RECORD = Set.of(
            "AuthorizationHeaderMalformed", "BadDigest", "ExpiredToken", "IncompleteBody", "InvalidBucketName",
            "InvalidDigest", "InvalidToken", "RequestTimeout", "XAmzContentSHA256Mismatch");

    private static final Duration CONNECT = Duration.ofSeconds(5);

    private static final Logger LOG = LoggerFactory.getLogger(FrameStore.class);

    /** Keys for which a 412 was followed by a 404. */
    private final Set<String> halves = ConcurrentHashMap.newKeySet();
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
        } catch (S3Exception error) {
            handle(frame, error);
        } catch (SdkException error) {
            throw away(error);
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

    private void handle(Frame frame, S3Exception error) throws StoreAway {
        int status = error.statusCode();
        if (status == 412) {
            compare(frame);
        } else if (status == 413 || status == 400 && isOfTheRecord(codeOf(error))) {
            throw new Violation("store_refused", frame.key() + ": " + textOf(error));
        } else if (status == 400 && !ValidityRule.sha256(frame.image()).equals(frame.sha256())) {
            // Without ValidRecord before it, the sink is the first to look at the bytes.
            throw new Violation("sha256_mismatch", "sha256 is not that of the image's bytes");
        } else {
            throw away(error);
        }
    }

    private void compare(Frame frame) throws StoreAway {
        HeadObjectResponse stored;
        try {
            stored = client.headObject(head -> head.bucket(bucket).key(frame.key()));
        } catch (NoSuchKeyException error) {
            replaceHalf(frame, error);
            return;
        } catch (SdkException error) {
            throw away(error);
        }
        String sha256 = stored.metadata().getOrDefault("sha256", "unknown");
        if (!sha256.equals(frame.sha256()) || stored.contentLength() != frame.image().length) {
            throw new Violation("object_conflict", "object exists with another sha256: " + frame.key() + " has "
                    + sha256 + " (" + stored.contentLength() + " bytes), this record " + frame.sha256() + " ("
                    + frame.image().length + " bytes)");
        }
    }

    /**
     * The store says that the object exists, and that it does not. Once, that is an object deleted in between. Twice,
     * it is half an object: versitygw with its metadata in a folder of their own, killed before the object's name was
     * there, refuses every conditional put of that key for ever. There are no bytes to lose, so it is put over.
     */
    private void replaceHalf(Frame frame, NoSuchKeyException error) throws StoreAway {
        if (halves.add(frame.key())) {
            throw new StoreAway("the store says both that " + frame.key() + " exists and that it does not", error);
        }
        try {
            put(frame, false);
        } catch (SdkException again) {
            throw away(again);
        }
        halves.remove(frame.key());
        LOG.warn("event=half_object_replaced key={}", frame.key());
    }

    /** No code at all: the 400 is a proxy's, not the store's. */
    private static boolean isOfTheRecord(String code) {
        return !code.isEmpty() && !NOT_THE_RECORD.contains(code);
    }

    private static StoreAway away(SdkException error) {
        String reason = error instanceof S3Exception answer ? textOf(answer) : String.valueOf(error.getMessage());
        return new StoreAway(reason, error);
    }

    private static String codeOf(S3Exception error) {
        String code = error.awsErrorDetails() == null ? null : error.awsErrorDetails().errorCode();
        return code == null ? "" : code;
    }

    private static String textOf(S3Exception error) {
        String detail = error.awsErrorDetails() == null ? null : error.awsErrorDetails().errorMessage();
        return "HTTP " + error.statusCode() + " " + codeOf(error) + (detail == null ? "" : " (" + detail + ")");
    }

    @Override
    public void close() {
        client.close();
    }
}
