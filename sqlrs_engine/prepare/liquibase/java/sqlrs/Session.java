package sqlrs;

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Deque;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TimeZone;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import liquibase.Contexts;
import liquibase.LabelExpression;
import liquibase.RuntimeEnvironment;
import liquibase.Scope;
import liquibase.change.Change;
import liquibase.change.ChangeWithColumns;
import liquibase.change.ColumnConfig;
import liquibase.change.core.LoadDataChange;
import liquibase.changelog.ChangeLogHistoryService;
import liquibase.changelog.ChangeLogHistoryServiceFactory;
import liquibase.changelog.ChangeLogIterator;
import liquibase.changelog.ChangeLogParameters;
import liquibase.changelog.ChangeSet;
import liquibase.changelog.DatabaseChangeLog;
import liquibase.changelog.RanChangeSet;
import liquibase.changelog.filter.ChangeSetFilter;
import liquibase.changelog.filter.ChangeSetFilterResult;
import liquibase.changelog.filter.ContextChangeSetFilter;
import liquibase.changelog.filter.CountChangeSetFilter;
import liquibase.changelog.filter.DbmsChangeSetFilter;
import liquibase.changelog.filter.IgnoreChangeSetFilter;
import liquibase.changelog.filter.LabelChangeSetFilter;
import liquibase.changelog.filter.ShouldRunChangeSetFilter;
import liquibase.changelog.filter.UpToTagChangeSetFilter;
import liquibase.changelog.visitor.ChangeSetVisitor;
import liquibase.changelog.visitor.UpdateVisitor;
import liquibase.changelog.visitor.ValidatingVisitor;
import liquibase.command.CommandArgumentDefinition;
import liquibase.command.CommandScope;
import liquibase.command.core.UpdateCommandStep;
import liquibase.command.core.UpdateCountCommandStep;
import liquibase.command.core.UpdateToTagCommandStep;
import liquibase.command.core.helpers.DatabaseChangelogCommandStep;
import liquibase.command.core.helpers.DbUrlConnectionCommandStep;
import liquibase.configuration.ConfigurationDefinition;
import liquibase.configuration.ConfigurationValueProvider;
import liquibase.configuration.ConfiguredValue;
import liquibase.configuration.LiquibaseConfiguration;
import liquibase.configuration.core.DefaultsFileValueProvider;
import liquibase.database.Database;
import liquibase.database.core.DatabaseUtils;
import liquibase.database.jvm.JdbcConnection;
import liquibase.exception.DatabaseException;
import liquibase.exception.ValidationFailedException;
import liquibase.executor.ExecutorService;
import liquibase.lockservice.LockService;
import liquibase.lockservice.LockServiceFactory;
import liquibase.precondition.Precondition;
import liquibase.precondition.PreconditionLogic;
import liquibase.precondition.core.PreconditionContainer;
import liquibase.resource.Resource;
import liquibase.resource.ResourceAccessor;
import liquibase.util.LiquibaseUtil;

/**
 * One changelog, read once, whose changesets are applied one at a time.
 *
 * <p>Requests are lines on standard input, their fields separated by tabs: {@code plan}; {@code apply
 * INDEX URL USER PASSWORD SETTINGS}, where INDEX counts the planned changesets from 0, or is -1 to
 * make Liquibase's tables only; and {@code leave}, after which the server may stop. Changesets in a
 * row that are applied to the same server share a database session. Each request is answered by one
 * line on standard output, a byte 1 and then JSON: what was asked for, or {@code {"error": …}}. All
 * other output is for people.
 */
final class Session {
    private static final char MARK = '\u0001';
    private static final String PREFIX = "parameter.";
    private static final Pattern PARAMETER = Pattern.compile("\\$\\{([^}]+)}");
    private static final Pattern PROPERTY = Pattern.compile("property=\"?([^\",\\s\\]]+)");
    /** Settings that say where things are, what is run of it or what is printed, and no more. */
    private static final Pattern NEUTRAL =
            Pattern.compile(
                    "(?i)liquibase\\.(searchPath|classpath|defaultsFile|log.*|showBanner|"
                        + "includeSystemClasspath|output.*|monitorPerformance|liquibaseHome|"
                        + "shouldRun|headless|promptForNonLocalDatabase|pro\\..*|reports?\\..*|"
                        + "psql\\..*|command\\..*|suppress.*|includeMatrixParams|hub\\..*|"
                        + ".*(password|token|secret|key))");

    private final CommandScope command;
    private final PrintStream out;
    private DatabaseChangeLog changelog;
    private ChangeLogParameters parameters;
    private Recorder recorder;
    private final List<ChangeSet> planned = new ArrayList<>();
    /** The database of the last changeset, and which can be applied to it next. */
    private Database applied;

    private int next = -1;
    private String login;
    /** Where the open database session is, and what it hands on; null when none is open. */
    private String place;
    private ChangeLogHistoryService history;
    private Carried carried;
    private Heard heard;
    /** Ids and authors of what had been run on the database before its first changeset here. */
    private final Set<List<String>> ran = new HashSet<>();

    Session(CommandScope command) {
        this.command = command;
        this.out = System.out;
        System.setOut(System.err);
    }

    void serve() throws Exception {
        ResourceAccessor files = Scope.getCurrentScope().getResourceAccessor();
        BufferedReader requests =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        answer(Collections.singletonMap("ready", LiquibaseUtil.getBuildVersion()));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            String[] request = line.split("\t", -1);
            if (request[0].equals("plan")) {
                recorder = new Recorder(files);
            }
            Map<String, Object> values = new LinkedHashMap<>();
            values.put(Scope.Attr.resourceAccessor.name(), recorder);
            try {
                answer(Scope.child(values, () -> handle(request)));
            } catch (Throwable failure) {
                answer(error(failure));
                if (failure instanceof VirtualMachineError) {
                    return;
                }
            }
        }
    }

    private Object handle(String[] request) throws Exception {
        if (request[0].equals("plan")) {
            return plan(request[1]);
        }
        return request[0].equals("leave")
                ? leave()
                : apply(Integer.parseInt(request[1]), request);
    }

    private void answer(Object reply) {
        out.print(MARK);
        out.print(Reply.json(reply));
        out.print('\n');
        out.flush();
        System.err.flush();
    }

    private static Map<String, Object> error(Throwable failure) {
        StringBuilder message = new StringBuilder();
        String last = "";
        for (Throwable each = failure; each != null; each = each.getCause()) {
            String text = each.getMessage() == null ? each.toString() : each.getMessage();
            if (!last.contains(text)) {
                message.append(message.length() > 0 ? "\n" : "").append(text);
                last = text;
            }
        }
        if (message.indexOf("ClassNotFoundException") >= 0) {
            message.append("\nLiquibase finds classes of yours in jars in ");
            message.append(System.getenv("LIQUIBASE_HOME")).append("/lib");
        }
        Map<String, Object> error = new LinkedHashMap<>();
        error.put("error", message.toString());
        error.put("incompatible", failure instanceof LinkageError);
        return error;
    }

    // ---- planning

    private Map<String, Object> plan(String url) throws Exception {
        forget();
        Database database = open(url, null, null);
        Map<String, Object> scope = Collections.singletonMap("database", (Object) database);
        return Scope.child(scope, () -> plan(database));
    }

    private Map<String, Object> plan(Database database) throws Exception {
        for (CommandArgumentDefinition<String> ours :
                Arrays.asList(
                        DbUrlConnectionCommandStep.DRIVER_ARG,
                        DbUrlConnectionCommandStep.DRIVER_PROPERTIES_FILE_ARG)) {
            if (command.getArgumentValue(ours) != null) {
                throw new IllegalArgumentException(
                        ours.getName() + " is not allowed, in the defaults file neither");
            }
        }
        parameters = new ChangeLogParameters(database);
        new DatabaseChangelogCommandStep().addJavaProperties(parameters);
        addDefaultsFileParameters();
        parameters.setContexts(new Contexts(command.getArgumentValue(UpdateCommandStep.CONTEXTS_ARG)));
        parameters.setLabels(
                new LabelExpression(command.getArgumentValue(UpdateCommandStep.LABEL_FILTER_ARG)));
        changelog =
                DatabaseChangelogCommandStep.getDatabaseChangeLog(
                        command.getArgumentValue(UpdateCommandStep.CHANGELOG_FILE_ARG),
                        parameters,
                        database);
        check(database, Collections.emptyList());
        planned.clear();
        new ChangeLogIterator(changelog, filters(database))
                .run(new Collector(planned), environment(database));
        recorder.take();
        Map<String, Object> plan = new LinkedHashMap<>();
        plan.put("version", LiquibaseUtil.getBuildVersion());
        plan.put("driver", driver());
        plan.put("settings", settings());
        String preconditions = preconditions(changelog.getPreconditions());
        plan.put("preconditions", preconditions);
        plan.put("parameters", parameters(String.valueOf(preconditions), changelog));
        List<Object> changesets = new ArrayList<>();
        Cells cells = new Cells(recorder);
        for (ChangeSet changeset : planned) {
            changesets.add(describe(changeset, cells));
        }
        plan.put("changesets", changesets);
        plan.put("listed", cells.listed());
        plan.put("locations", recorder.describeLocations());
        plan.put("files", recorder.read().values());
        plan.put("looked", recorder.looked());
        return plan;
    }

    /** Add the lines {@code parameter.NAME} of the defaults file. */
    private void addDefaultsFileParameters() {
        for (ConfigurationValueProvider provider : configuration().getProviders()) {
            if (provider instanceof DefaultsFileValueProvider) {
                ((DefaultsFileValueProvider) provider)
                        .getMap()
                        .forEach(
                                (key, value) -> {
                                    if (String.valueOf(key).startsWith(PREFIX)) {
                                        parameters.set(
                                                String.valueOf(key).substring(PREFIX.length()),
                                                value);
                                    }
                                });
            }
        }
    }

    private static LiquibaseConfiguration configuration() {
        return Scope.getCurrentScope().getSingleton(LiquibaseConfiguration.class);
    }

    private boolean is(String name) {
        return command.getCommand().getName()[0].equals(name);
    }

    /** Return the filters of the command, but for that of what has been run already. */
    private List<ChangeSetFilter> filters(Database database) {
        List<ChangeSetFilter> filters =
                new ArrayList<>(
                        Arrays.asList(
                                new ContextChangeSetFilter(parameters.getContexts()),
                                new LabelChangeSetFilter(parameters.getLabels()),
                                new DbmsChangeSetFilter(database),
                                new IgnoreChangeSetFilter()));
        if (is("updateCount")) {
            filters.add(
                    new CountChangeSetFilter(
                            command.getArgumentValue(UpdateCountCommandStep.COUNT_ARG)));
        } else if (is("updateToTag")) {
            filters.add(
                    new UpToTagChangeSetFilter(
                            command.getArgumentValue(UpdateToTagCommandStep.TAG_ARG),
                            Collections.<RanChangeSet>emptyList()));
        }
        return filters;
    }

    /** Do all of DatabaseChangeLog.validate but for the changelog's preconditions. */
    private void check(Database database, List<RanChangeSet> ran) throws Exception {
        ValidatingVisitor visitor = new ValidatingVisitor(ran);
        new ChangeLogIterator(
                        changelog,
                        new DbmsChangeSetFilter(database),
                        new ContextChangeSetFilter(parameters.getContexts()),
                        new LabelChangeSetFilter(parameters.getLabels()))
                .run(visitor, environment(database));
        if (!visitor.validationPassed()) {
            throw new ValidationFailedException(visitor);
        }
    }

    private Map<String, Object> describe(ChangeSet changeset, Cells cells) throws Exception {
        Map<String, Object> told = new LinkedHashMap<>();
        told.put("id", changeset.getId());
        told.put("author", changeset.getAuthor());
        told.put("path", changeset.getFilePath());
        // Files that a change reads are read for its checksum.
        told.put(
                "checksum",
                changeset.generateCheckSum(Scope.getCurrentScope().getChecksumVersion()).toString());
        told.put("contexts", changeset.buildFullContext());
        told.put("labels", changeset.buildFullLabels());
        told.put("comments", changeset.getComments());
        told.put("description", changeset.getDescription());
        String definition = Portrait.of(changeset);
        told.put("definition", Recorder.digest(definition));
        Set<String> named = new TreeSet<>();
        for (Change change : changeset.getChanges()) {
            readValues(change, changeset.getChangeLog());
            if (change instanceof LoadDataChange) {
                named.addAll(cells.read((LoadDataChange) change, changeset.getChangeLog()));
            }
        }
        told.put("named", named);
        Set<String> files = recorder.take();
        told.put("files", files);
        StringBuilder text = new StringBuilder();
        text.append(definition);
        for (String uri : files) {
            Map<String, Object> file = recorder.read().get(uri);
            if (file != null && Boolean.TRUE.equals(file.get("parameters"))) {
                text.append(content((String) file.get("path")));
            }
        }
        told.put("parameters", parameters(text.toString(), changeset.getChangeLog()));
        return told;
    }

    /** Return all that preconditions say, null when there is none. */
    private static String preconditions(PreconditionContainer container)
            throws IllegalAccessException {
        StringBuilder text = new StringBuilder();
        if (container != null) {
            add(container, text);
        }
        return text.length() == 0 ? null : text.toString();
    }

    /** Add preconditions with their kinds, leaving out the empty containers of included files. */
    private static void add(PreconditionLogic logic, StringBuilder text)
            throws IllegalAccessException {
        StringBuilder inside = new StringBuilder();
        for (Precondition nested : logic.getNestedPreconditions()) {
            if (nested instanceof PreconditionLogic) {
                add((PreconditionLogic) nested, inside);
            } else {
                inside.append(nested.getName()).append(Portrait.of(nested));
            }
        }
        if (inside.length() == 0) {
            return;
        }
        text.append(logic.getName());
        if (logic instanceof PreconditionContainer) {
            PreconditionContainer container = (PreconditionContainer) logic;
            text.append(' ').append(container.getOnFail()).append(' ').append(container.getOnError());
            text.append(' ').append(container.getOnFailMessage());
            text.append(' ').append(container.getOnErrorMessage());
        }
        text.append('(').append(inside).append(')');
    }

    /** Read the files that columns take their values from: no checksum does. */
    private void readValues(Change change, DatabaseChangeLog of) throws IOException {
        if (!(change instanceof ChangeWithColumns)) {
            return;
        }
        for (Object each : ((ChangeWithColumns<?>) change).getColumns()) {
            ColumnConfig column = (ColumnConfig) each;
            for (String file : Arrays.asList(column.getValueBlobFile(), column.getValueClobFile())) {
                if (file != null) {
                    Resource changelog = recorder.get(of.getPhysicalFilePath());
                    for (Resource found :
                            Arrays.asList(recorder.get(file), changelog.resolveSibling(file))) {
                        if (found.exists()) {
                            found.openInputStream().close();
                        }
                    }
                }
            }
        }
    }

    /** Return the values of the parameters that a text may use, and of those in their values. */
    private Map<String, Object> parameters(String text, DatabaseChangeLog of) {
        Map<String, Object> values = new TreeMap<>();
        Deque<String> texts = new ArrayDeque<>();
        texts.add(text);
        while (!texts.isEmpty()) {
            String next = texts.remove();
            for (Pattern pattern : Arrays.asList(PARAMETER, PROPERTY)) {
                Matcher name = pattern.matcher(next);
                while (name.find()) {
                    if (!values.containsKey(name.group(1))) {
                        Object value = parameters.getValue(name.group(1), of);
                        values.put(name.group(1), value == null ? null : value.toString());
                        texts.add(String.valueOf(value));
                    }
                }
            }
        }
        return values;
    }

    /** Return a file's text in all the ways in which parameters may be written in it. */
    private String content(String path) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        byte[] buffer = new byte[64 * 1024];
        try (InputStream in = recorder.getExisting(path).openInputStream()) {
            for (int got = in.read(buffer); got >= 0; got = in.read(buffer)) {
                bytes.write(buffer, 0, got);
            }
        }
        recorder.take();
        StringBuilder text = new StringBuilder();
        for (Charset charset :
                Arrays.asList(
                        StandardCharsets.UTF_8,
                        StandardCharsets.UTF_16LE,
                        StandardCharsets.UTF_16BE,
                        StandardCharsets.ISO_8859_1)) {
            text.append(new String(bytes.toByteArray(), charset));
        }
        return text.toString();
    }

    /** Return what the configuration says that is not the default and may change a result. */
    private Map<String, Object> settings() {
        Map<String, Object> settings = new TreeMap<>();
        // The driver tells the database the zone, others may turn into text by the rest.
        settings.put("java time zone", TimeZone.getDefault().getID());
        settings.put("java locale", Locale.getDefault().toLanguageTag());
        settings.put("java charset", Charset.defaultCharset().name());
        for (ConfigurationDefinition<?> definition :
                configuration().getRegisteredDefinitions(false)) {
            ConfiguredValue<?> value = definition.getCurrentConfiguredValue();
            if (!value.wasDefaultValueUsed()
                    && value.getValue() != null
                    && !NEUTRAL.matcher(definition.getKey()).matches()) {
                settings.put(definition.getKey(), value.getValue().toString());
            }
        }
        for (CommandArgumentDefinition<?> argument :
                Arrays.asList(
                        DbUrlConnectionCommandStep.DEFAULT_SCHEMA_NAME_ARG,
                        DbUrlConnectionCommandStep.DEFAULT_CATALOG_NAME_ARG)) {
            Object value = command.getArgumentValue(argument);
            if (value != null) {
                settings.put(argument.getName(), value.toString());
            }
        }
        return settings;
    }

    private static String driver() {
        try {
            Package driver = Class.forName("org.postgresql.Driver").getPackage();
            return String.valueOf(driver.getImplementationVersion());
        } catch (ClassNotFoundException missing) {
            return null;
        }
    }

    // ---- applying

    private Map<String, Object> apply(int index, String[] request) throws Exception {
        recorder.take();
        login = request[3];
        try {
            if (goesOn(index, request[2])) {
                carried.separate();
            } else {
                connect(index, request[2], request[3], request[4]);
                begin(index, request[5]);
                place = request[2];
            }
            if (index >= 0) {
                recorder.take(); // what was looked at to see whether the whole is valid
                Scope.child(heard, database(), () -> update(planned.get(index)));
                heard.check();
            }
            next = index + 1;
            return Collections.singletonMap("files", recorder.take());
        } catch (Throwable failure) {
            forget();
            throw failure;
        }
    }

    /** Return whether the open session applies the changeset: it has just applied the one before. */
    private boolean goesOn(int index, String url) {
        return index > 0 && index == next && url.equals(place);
    }

    /** End the open session, and tell what it hands to the next. */
    private Map<String, Object> leave() throws Exception {
        try {
            Map<String, String> left = new LinkedHashMap<>();
            if (next > 0) {
                left.putAll(carried.left(heard));
                left.putAll(
                        Scope.child(
                                database(), () -> carried.counted(history, () -> history(applied))));
            }
            applied.getConnection().close();
            place = null;
            return Collections.singletonMap("settings", left);
        } catch (Throwable failure) {
            forget();
            throw failure;
        }
    }

    private Map<String, Object> database() {
        return Collections.singletonMap("database", (Object) applied);
    }

    /**
     * Connect to the database to which the changeset is to be applied.
     *
     * <p>When the one before has just been applied, it is the same database, at another place:
     * what Liquibase knows of it, and takes some time to find out, is kept.
     */
    private void connect(int index, String url, String user, String password) throws Exception {
        if (applied != null && index > 0 && index == next && place == null) {
            Properties login = new Properties();
            login.setProperty("user", user);
            login.setProperty("password", password);
            Connection connection = new org.postgresql.Driver().connect(url, login);
            applied.setConnection(new JdbcConnection(connection));
            DatabaseUtils.initializeDatabase(
                    command.getArgumentValue(DbUrlConnectionCommandStep.DEFAULT_CATALOG_NAME_ARG),
                    command.getArgumentValue(DbUrlConnectionCommandStep.DEFAULT_SCHEMA_NAME_ARG),
                    applied);
            return;
        }
        forget();
        applied = open(url, user, password);
    }

    /** Make the new session go on where the one with these settings ended. */
    private void begin(int index, String settings) throws Exception {
        Scope.child(
                database(),
                () -> {
                    history = history(applied);
                    if (next != index || index <= 0) {
                        look(index);
                    }
                    carried = new Carried(connection(), login);
                    heard = new Heard();
                    if (index >= 0) {
                        carried.restore(settings);
                        carried.count(history);
                    }
                });
    }

    /** Read what the database has recorded, and check the changelog against it. */
    private void look(int index) throws Exception {
        LockService lock = LockServiceFactory.getInstance().getLockService(applied);
        lock.waitForLock();
        try {
            history.init();
            history.generateDeploymentId();
            ran.clear();
            for (RanChangeSet each : history.getRanChangeSets()) {
                ran.add(Arrays.asList(each.getId(), each.getAuthor()));
            }
            if (index <= 0) {
                changelog.validate(applied, parameters.getContexts(), parameters.getLabels());
            }
        } finally {
            lock.releaseLock();
        }
    }

    /** Return a history that knows what is in the database, and nothing else. */
    private static ChangeLogHistoryService history(Database database) {
        ChangeLogHistoryServiceFactory factory =
                Scope.getCurrentScope().getSingleton(ChangeLogHistoryServiceFactory.class);
        factory.resetAll();
        return factory.getChangeLogService(database);
    }

    private void update(ChangeSet changeset) throws Exception {
        List<ChangeSetFilter> filters = new ArrayList<>();
        filters.add(new Only(changeset));
        if (ran.contains(Arrays.asList(changeset.getId(), changeset.getAuthor()))) {
            // An earlier changelog may have run it: Liquibase's own filter reads the whole history.
            filters.add(new ShouldRunChangeSetFilter(applied));
        }
        new ChangeLogIterator(changelog, filters.toArray(new ChangeSetFilter[0]))
                .run(new UpdateVisitor(applied, null, null), environment(applied));
        applied.afterUpdate();
    }

    private Connection connection() {
        return ((JdbcConnection) applied.getConnection()).getUnderlyingConnection();
    }

    private void forget() throws Exception {
        next = -1;
        place = null;
        if (applied != null) {
            try {
                applied.close();
            } catch (DatabaseException gone) {
                // Its server has ended before, as after a changeset that failed.
                Scope.getCurrentScope().getLog(getClass()).fine("the database is gone", gone);
            }
        }
        applied = null;
        Scope.getCurrentScope().getSingleton(ChangeLogHistoryServiceFactory.class).resetAll();
        LockServiceFactory.getInstance().resetAll();
        Scope.getCurrentScope().getSingleton(ExecutorService.class).reset();
    }

    /** Open a database as the command itself would, with all that its arguments say. */
    private Database open(String url, String user, String password) throws Exception {
        command.addArgumentValue(DbUrlConnectionCommandStep.URL_ARG, url);
        command.addArgumentValue(DbUrlConnectionCommandStep.USERNAME_ARG, user);
        command.addArgumentValue(DbUrlConnectionCommandStep.PASSWORD_ARG, password);
        return new DbUrlConnectionCommandStep().obtainDatabase(command);
    }

    private RuntimeEnvironment environment(Database database) {
        return new RuntimeEnvironment(database, parameters.getContexts(), parameters.getLabels());
    }

    /** Accepts one changeset. */
    private static final class Only implements ChangeSetFilter {
        private final ChangeSet only;

        Only(ChangeSet only) {
            this.only = only;
        }

        @Override
        public ChangeSetFilterResult accepts(ChangeSet changeset) {
            return new ChangeSetFilterResult(changeset == only, "", getClass());
        }
    }

    /** Collects changesets in the order in which they are run. */
    private static final class Collector implements ChangeSetVisitor {
        private final List<ChangeSet> into;

        Collector(List<ChangeSet> into) {
            this.into = into;
        }

        @Override
        public Direction getDirection() {
            return Direction.FORWARD;
        }

        @Override
        public void visit(
                ChangeSet changeset,
                DatabaseChangeLog changelog,
                Database database,
                Set<ChangeSetFilterResult> filterResults) {
            into.add(changeset);
        }
    }
}
