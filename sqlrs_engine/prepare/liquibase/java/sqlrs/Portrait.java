package sqlrs;

import java.io.InputStream;
import java.lang.reflect.Array;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.Comparator;
import java.util.Date;
import java.util.HashSet;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.regex.Pattern;
import liquibase.change.custom.CustomChange;
import liquibase.changelog.ChangeLogParameters;
import liquibase.changelog.ChangeSet;
import liquibase.changelog.DatabaseChangeLog;
import liquibase.changelog.RollbackContainer;
import liquibase.database.Database;
import liquibase.resource.Resource;
import liquibase.resource.ResourceAccessor;
import liquibase.serializer.LiquibaseSerializable;

/**
 * All that a parsed object carries, as text: equal texts mean equal objects.
 *
 * <p>Liquibase's own serializers, and its checksums, leave some of it out. So every field counts,
 * by reflection, but for what is not of the changelog: where the object came from, and what
 * running it leaves in it.
 */
final class Portrait {
    private static final List<Class<?>> ELSEWHERE =
            Arrays.asList(
                    DatabaseChangeLog.class,
                    ChangeLogParameters.class,
                    // Of no account for a database that only goes forward.
                    RollbackContainer.class,
                    ResourceAccessor.class,
                    Resource.class,
                    Database.class,
                    InputStream.class,
                    ClassLoader.class,
                    // Made by somebody's constructor; its parameters are its wrapper's.
                    CustomChange.class);

    /** What running, or looking, leaves in a changeset. */
    private static final Set<String> LEFT =
            new HashSet<>(
                    Arrays.asList(
                            "checkSum",
                            "storedCheckSum",
                            "key",
                            "validationFailed",
                            "deploymentId",
                            "generatedSql",
                            "execType",
                            "errorMsg",
                            "rollbackExecType",
                            "operationStartTime",
                            "operationStopTime"));

    private static final Pattern ADDRESS = Pattern.compile(".*@[0-9a-f]+", Pattern.DOTALL);

    private final StringBuilder text = new StringBuilder();
    private final Set<Object> within = Collections.newSetFromMap(new IdentityHashMap<>());

    private Portrait() {}

    static String of(Object object) throws IllegalAccessException {
        Portrait portrait = new Portrait();
        portrait.add(object);
        return portrait.text.toString();
    }

    private void add(Object value) throws IllegalAccessException {
        if (value == null) {
            text.append("null");
        } else if (value instanceof CharSequence) {
            String plain = value.toString().replace("\\", "\\\\").replace("\"", "\\\"");
            text.append('"').append(plain).append('"');
        } else if (!within.add(value)) {
            text.append('^');
        } else {
            addKnown(value);
            within.remove(value);
        }
    }

    private void addKnown(Object value) throws IllegalAccessException {
        Class<?> kind = value.getClass();
        if (value instanceof Enum) {
            text.append(((Enum<?>) value).name());
        } else if (value instanceof Class) {
            text.append(((Class<?>) value).getName());
        } else if (value instanceof Date) {
            text.append(kind.getName()).append('(').append(((Date) value).getTime());
            text.append(' ').append(value).append(')');
        } else if (value instanceof Map) {
            addMap((Map<?, ?>) value);
        } else if (value instanceof Collection) {
            addAll((Collection<?>) value);
        } else if (kind.isArray()) {
            List<Object> elements = new ArrayList<>();
            for (int i = 0; i < Array.getLength(value); i++) {
                elements.add(Array.get(value, i));
            }
            addAll(elements);
        } else if (value instanceof LiquibaseSerializable || kind.getName().startsWith("liquibase.")) {
            addFields(value);
        } else {
            String plain = kind.getName().startsWith("java.") ? value.toString() : "";
            text.append(kind.getName().replaceFirst("\\$\\$.*", "")).append('(');
            text.append(ADDRESS.matcher(plain).matches() ? "" : plain).append(')');
        }
    }

    private void addFields(Object value) throws IllegalAccessException {
        text.append(value.getClass().getName()).append('{');
        for (Class<?> kind = value.getClass(); kind != Object.class; kind = kind.getSuperclass()) {
            Field[] fields = kind.getDeclaredFields();
            Arrays.sort(fields, Comparator.comparing(Field::getName));
            for (Field field : fields) {
                if (Modifier.isStatic(field.getModifiers()) || field.isSynthetic()) {
                    continue;
                }
                field.setAccessible(true);
                Object content = field.get(value);
                if (counts(value, field, content)) {
                    text.append(field.getName()).append('=');
                    add(content);
                    text.append(',');
                }
            }
        }
        text.append('}');
    }

    private static boolean counts(Object owner, Field field, Object content) {
        if (content == null || owner instanceof ChangeSet && LEFT.contains(field.getName())) {
            return false;
        }
        return !(content instanceof ChangeSet)
                && ELSEWHERE.stream().noneMatch(kind -> kind.isInstance(content));
    }

    private void addMap(Map<?, ?> map) throws IllegalAccessException {
        List<String> entries = new ArrayList<>();
        for (Map.Entry<?, ?> entry : map.entrySet()) {
            entries.add(apart(entry.getKey()) + ':' + apart(entry.getValue()));
        }
        boolean ordered = map instanceof LinkedHashMap || map instanceof SortedMap;
        join(entries, ordered);
    }

    private void addAll(Collection<?> collection) throws IllegalAccessException {
        List<String> elements = new ArrayList<>();
        for (Object each : collection) {
            elements.add(apart(each));
        }
        boolean ordered =
                !(collection instanceof Set)
                        || collection instanceof LinkedHashSet
                        || collection instanceof SortedSet;
        join(elements, ordered);
    }

    /** Return the text of something inside, without adding it yet. */
    private String apart(Object value) throws IllegalAccessException {
        int begin = text.length();
        add(value);
        String added = text.substring(begin);
        text.setLength(begin);
        return added;
    }

    private void join(List<String> elements, boolean ordered) {
        if (!ordered) {
            Collections.sort(elements);
        }
        text.append('[').append(String.join(",", elements)).append(']');
    }
}
