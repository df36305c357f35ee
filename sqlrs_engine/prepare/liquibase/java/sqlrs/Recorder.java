package sqlrs;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import liquibase.resource.AbstractResource;
import liquibase.resource.AbstractResourceAccessor;
import liquibase.resource.OpenOptions;
import liquibase.resource.Resource;
import liquibase.resource.ResourceAccessor;

/**
 * Passes everything on to Liquibase's own accessor, and takes note of it.
 *
 * <p>What is read is digested before Liquibase reads it: when the digest is still right
 * afterwards, Liquibase has read that very content.
 */
final class Recorder extends AbstractResourceAccessor {
    private final ResourceAccessor files;
    private final Map<String, Map<String, Object>> read = new LinkedHashMap<>();
    private final List<Map<String, Object>> looked = new ArrayList<>();
    private Set<String> current = new LinkedHashSet<>();

    Recorder(ResourceAccessor files) {
        this.files = files;
    }

    /** Return the URIs of what has been looked up since the last call. */
    Set<String> take() {
        Set<String> taken = current;
        current = new LinkedHashSet<>();
        return taken;
    }

    /** Return what was read: URI, path, SHA-256 and whether a parameter may be in it. */
    Map<String, Map<String, Object>> read() {
        return read;
    }

    /** Return every look-up: its path, whether it was of a directory, and the URIs found. */
    List<Map<String, Object>> looked() {
        return looked;
    }

    @Override
    public List<Resource> search(String path, SearchOptions options) throws IOException {
        return seen(path, true, files.search(path, options));
    }

    @Override
    public List<Resource> search(String path, boolean recursive) throws IOException {
        return seen(path, true, files.search(path, recursive));
    }

    @Override
    public List<Resource> getAll(String path) throws IOException {
        return seen(path, false, files.getAll(path));
    }

    @Override
    public List<String> describeLocations() {
        return files.describeLocations();
    }

    @Override
    public void close() throws Exception {
        files.close();
    }

    /** Take note of a look-up; return what it found as resources that are noted when read. */
    private List<Resource> seen(String path, boolean directory, List<Resource> found) {
        List<Resource> resources = new ArrayList<>();
        Set<String> uris = new LinkedHashSet<>();
        for (Resource resource : found == null ? new ArrayList<Resource>() : found) {
            resources.add(new Recorded(resource));
            if (resource.exists()) {
                uris.add(resource.getUri().toString());
            }
        }
        Map<String, Object> entry = new LinkedHashMap<>();
        entry.put("path", path);
        entry.put("directory", directory);
        entry.put("found", uris);
        looked.add(entry);
        return found == null ? null : resources;
    }

    /** Take note of what is read, digested before it is. */
    private void note(Resource resource) throws IOException {
        String uri = resource.getUri().toString();
        current.add(uri);
        if (!read.containsKey(uri)) {
            Map<String, Object> file = new LinkedHashMap<>();
            file.put("uri", uri);
            file.put("path", resource.getPath());
            digest(resource, file);
            read.put(uri, file);
        }
    }

    private final class Recorded extends AbstractResource {
        private final Resource resource;

        Recorded(Resource resource) {
            super(resource.getPath(), resource.getUri());
            this.resource = resource;
        }

        @Override
        public InputStream openInputStream() throws IOException {
            note(resource);
            return resource.openInputStream();
        }

        @Override
        public boolean exists() {
            return resource.exists();
        }

        @Override
        public boolean isWritable() {
            return resource.isWritable();
        }

        @Override
        public OutputStream openOutputStream(OpenOptions options) throws IOException {
            return resource.openOutputStream(options);
        }

        @Override
        public Resource resolve(String other) {
            return related(resource.resolve(other));
        }

        @Override
        public Resource resolveSibling(String other) {
            return related(resource.resolveSibling(other));
        }

        private Resource related(Resource other) {
            return seen(other.getPath(), false, Collections.singletonList(other)).get(0);
        }
    }

    /** Digest the file itself, not what Liquibase unpacks of it. */
    private static void digest(Resource resource, Map<String, Object> file) throws IOException {
        URI uri = resource.getUri();
        boolean packed = uri.getPath() != null && uri.getPath().toLowerCase(Locale.ROOT).endsWith(".gz");
        try (InputStream in =
                packed && "file".equals(uri.getScheme())
                        ? Files.newInputStream(Paths.get(uri))
                        : resource.openInputStream()) {
            boolean parameters = digest(in, file);
            // Packed, they cannot be seen; the text will tell.
            file.put("parameters", packed || parameters);
        }
    }

    /** Digest a stream to its end; tell whether a parameter may be in it. */
    private static boolean digest(InputStream in, Map<String, Object> file) throws IOException {
        byte[] buffer = new byte[64 * 1024];
        boolean dollar = false;
        boolean parameters = false;
        MessageDigest sha = sha256();
        for (int got = in.read(buffer); got >= 0; got = in.read(buffer)) {
            sha.update(buffer, 0, got);
            for (int i = 0; i < got && !parameters; i++) {
                parameters = dollar && buffer[i] == '{';
                // In UTF-16 there is a zero between the two.
                dollar = buffer[i] == '$' || dollar && buffer[i] == 0;
            }
        }
        file.put("digest", hex(sha));
        return parameters;
    }

    /** Return the SHA-256 of a text in UTF-8. */
    static String digest(String text) {
        MessageDigest sha = sha256();
        sha.update(text.getBytes(StandardCharsets.UTF_8));
        return hex(sha);
    }

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    private static String hex(MessageDigest sha) {
        StringBuilder hex = new StringBuilder();
        for (byte each : sha.digest()) {
            hex.append(String.format("%02x", each));
        }
        return hex.toString();
    }
}
