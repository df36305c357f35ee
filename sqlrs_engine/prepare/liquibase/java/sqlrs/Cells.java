package sqlrs;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import liquibase.change.core.LoadDataChange;
import liquibase.change.core.LoadDataColumnConfig;
import liquibase.changelog.DatabaseChangeLog;
import liquibase.resource.Resource;
import liquibase.util.FilenameUtil;
import liquibase.util.csv.CSVReader;

/**
 * The cells of CSV files that name files.
 *
 * <p>What loadData makes of a cell depends on its column's type, which may be known to the database
 * only: for a CLOB, the content of the file of that name if the process finds one in its working
 * directory; for a BLOB, that of the file beside the changelog. So any cell that names a file is
 * taken for one that is read.
 */
final class Cells {
    private static final int LONGEST_PATH = 4096;

    private final Recorder recorder;
    private final Path directory = Paths.get("").toAbsolutePath();
    private final Map<Path, Set<String>> listed = new HashMap<>();

    Cells(Recorder recorder) {
        this.recorder = recorder;
    }

    /** Return the directories whose names have been compared with cells. */
    Set<String> listed() {
        return listed.keySet().stream().map(Path::toString).collect(Collectors.toCollection(TreeSet::new));
    }

    /** Read the files that cells name; return the cells that name one in the working directory. */
    Set<String> read(LoadDataChange change, DatabaseChangeLog of) {
        String beside = FilenameUtil.getDirectory(of.getPhysicalFilePath());
        List<Path> places = new ArrayList<>();
        for (String location : recorder.describeLocations()) {
            if (Files.isDirectory(Paths.get(location))) {
                places.add(Paths.get(location).resolve(beside));
            }
        }
        Set<String> found = new TreeSet<>();
        for (String cell : naming(change, places, found)) {
            String path = FilenameUtil.concat(beside, cell);
            try {
                Resource resource = path == null ? null : recorder.get(path);
                if (resource != null && isFile(resource)) {
                    resource.openInputStream().close();
                }
            } catch (IOException | RuntimeException unreadable) {
                // For Liquibase too: should it want this file, its own words are better.
                continue;
            }
        }
        return found;
    }

    /** Return the cells that name files; those in the working directory are {@code found}. */
    private Set<String> naming(LoadDataChange change, List<Path> places, Set<String> found) {
        Set<String> naming = new TreeSet<>();
        List<String> defaults = new ArrayList<>();
        for (LoadDataColumnConfig column : change.getColumns()) {
            defaults.add(column.getDefaultValue());
        }
        try (CSVReader reader = change.getCSVReader()) {
            String[] line = defaults.toArray(new String[0]);
            for (; reader != null && line != null; line = reader.readNext()) {
                for (String cell : line) {
                    boolean here = exists(directory, cell);
                    if (here) {
                        found.add(cell);
                    }
                    if (here || places.stream().anyMatch(place -> exists(place, cell))) {
                        naming.add(cell);
                    }
                }
            }
        } catch (Exception unreadable) {
            // Nor will Liquibase be able to load it, and it says so when it tries.
            return naming;
        }
        return naming;
    }

    /** Tell whether a cell names something, by the names in directories, each read once. */
    private boolean exists(Path base, String cell) {
        if (cell == null || cell.isEmpty() || cell.length() > LONGEST_PATH || cell.indexOf(0) >= 0) {
            return false;
        }
        Path place = cell.startsWith("/") ? Paths.get("/") : base;
        for (String name : cell.split("/")) {
            if (name.equals("..")) {
                place = place.getParent() == null ? place : place.getParent();
            } else if (!name.isEmpty() && !name.equals(".")) {
                if (!names(place).contains(name)) {
                    return false;
                }
                place = place.resolve(name);
            }
        }
        return true;
    }

    private Set<String> names(Path place) {
        return listed.computeIfAbsent(place.normalize(), Cells::list);
    }

    private static Set<String> list(Path place) {
        if (!Files.isDirectory(place)) {
            return Collections.emptySet();
        }
        try (Stream<Path> below = Files.list(place)) {
            return below.map(each -> each.getFileName().toString()).collect(Collectors.toCollection(HashSet::new));
        } catch (IOException closed) {
            return Collections.emptySet();
        }
    }

    private static boolean isFile(Resource resource) {
        URI uri = resource.getUri();
        return resource.exists()
                && (!"file".equals(uri.getScheme()) || Files.isRegularFile(Paths.get(uri)));
    }
}
