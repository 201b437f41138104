package sightline.connect;

import org.apache.kafka.connect.errors.DataException;

/**
 * A record that breaks the validity rule. Its message is {@code <code>: <detail>}: the code is what tests and tables
 * use, the detail is for a person. Connect writes it on the dead letter.
 */
final class Violation extends DataException {

    private final String code;

    Violation(String code, String detail) {
        super(code + ": " + detail);
        this.code = code;
    }

    String code() {
        return code;
    }
}
