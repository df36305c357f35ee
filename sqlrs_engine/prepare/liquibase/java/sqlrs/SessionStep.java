package sqlrs;

import liquibase.command.AbstractCommandStep;
import liquibase.command.CommandDefinition;
import liquibase.command.CommandResultsBuilder;
import liquibase.command.CommandScope;
import liquibase.exception.CommandValidationException;

/**
 * Takes the place of one of Liquibase's update commands when the engine asks for it.
 *
 * <p>All steps of a command validate before any runs. By then Liquibase itself has read the
 * arguments, the defaults file and the environment, and has not connected to anything. The process
 * ends with the session, so no step ever runs.
 */
public abstract class SessionStep extends AbstractCommandStep {
    private final String command;

    private SessionStep(String command) {
        this.command = command;
    }

    @Override
    public String[][] defineCommandNames() {
        return new String[][] {{command}};
    }

    @Override
    public int getOrder(CommandDefinition definition) {
        return Boolean.getBoolean("sqlrs.session") ? super.getOrder(definition) / 1000 : -1;
    }

    @Override
    public void validate(CommandScope scope) throws CommandValidationException {
        try {
            new Session(scope).serve();
        } catch (Exception broken) {
            throw new CommandValidationException("the session broke", broken);
        }
        Runtime.getRuntime().halt(0);
    }

    @Override
    public void run(CommandResultsBuilder results) {
        throw new IllegalStateException("the session has ended before");
    }

    public static final class Update extends SessionStep {
        public Update() {
            super("update");
        }
    }

    public static final class UpdateCount extends SessionStep {
        public UpdateCount() {
            super("updateCount");
        }
    }

    public static final class UpdateToTag extends SessionStep {
        public UpdateToTag() {
            super("updateToTag");
        }
    }
}
