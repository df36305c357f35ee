package sqlrs;

import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import liquibase.listener.SqlListener;

/** Takes note of the settings that SQL speaks of and PostgreSQL does not know, as app.user. */
final class Heard extends SqlListener {
    private static final String NAME = "([\\w$]+(?:\\.[\\w$]+)+)";
    private static final Pattern SET =
            Pattern.compile("(?iU)\\bset\\s+(?:session\\s+)?" + NAME);
    private static final Pattern CALL =
            Pattern.compile("(?iU)\\bset_config\\s*\\(\\s*(?:e?'" + NAME + "'\\s*(?:::\\s*\\w+\\s*)?,)?");
    private static final Pattern PLAIN =
            Pattern.compile("(?iU)\\bset_config\\s*\\(\\s*e?'\\w+'\\s*(?:::\\s*\\w+\\s*)?,");
    private static final Pattern LOCAL =
            Pattern.compile("(?iU)\\bset_config\\s*\\([^;]*?,\\s*true\\s*\\)");
    private static final Pattern DEFINITION =
            Pattern.compile("(?iU)\\bcreate\\s+(?:or\\s+replace\\s+)?(?:function|procedure)\\b");

    final Set<String> names = new TreeSet<>();
    private boolean unwritten;

    @Override
    public void writeSqlWillRun(String sql) {
        boolean all = names(sql);
        unwritten = unwritten || !all && !DEFINITION.matcher(sql).find();
    }

    /** Add the names that a text speaks of; tell whether all of them are written out. */
    boolean names(String text) {
        String plain = text.replace("\"", "");
        Matcher set = SET.matcher(plain);
        while (set.find()) {
            names.add(set.group(1));
        }
        boolean all = true;
        Matcher call = CALL.matcher(plain);
        while (call.find()) {
            if (call.group(1) != null) {
                names.add(call.group(1));
            } else {
                all = all && (begins(PLAIN, plain, call.start()) || begins(LOCAL, plain, call.start()));
            }
        }
        return all;
    }

    private static boolean begins(Pattern pattern, String text, int at) {
        return pattern.matcher(text).region(at, text.length()).lookingAt();
    }

    /** Raise an error when a setting is made whose name only the database knows. */
    void check() {
        if (unwritten) {
            throw new IllegalStateException(
                    "set_config with a name that is not written out: whether the next changeset is"
                        + " to have that setting cannot be told. Write the name as a literal");
        }
    }
}
