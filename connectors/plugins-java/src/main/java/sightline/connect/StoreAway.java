package sightline.connect;

/** The store did not take an object for a reason that is not the record's: try again, for as long as it takes. */
final class StoreAway extends Exception {

    StoreAway(String reason, Throwable cause) {
        super(reason, cause);
    }
}
