using StreamCdp.Engine.Logs;
using StreamCdp.Engine.State;

namespace StreamCdp.Engine.Runtime;

/// <summary>Where stages keep their stores and the manifests of their checkpoints: a directory, or memory in the simulation.</summary>
internal interface IStateHome
{
    /// <summary>Opens a store of a stage, empty or as it was saved.</summary>
    /// <exception cref="CheckpointFailedException">It cannot be restored.</exception>
    IStateStore Open(string stage, string store, StoreKind kind, StoreSizes sizes, StoreCheckpoint? restore);

    /// <summary>Manifests of a stage, newest first.</summary>
    IReadOnlyList<(long Number, byte[] Json)> Manifests(string stage);

    /// <summary>When the newest manifest of a stage was written, Unix ms; null where there is none, or it is not known.</summary>
    long? SavedAtMs(string stage);

    /// <summary>Makes a manifest durable, whole or not at all.</summary>
    void WriteManifest(string stage, long number, byte[] json);

    /// <summary>Deletes a manifest.</summary>
    void RemoveManifest(string stage, long number);
}

/// <summary>State in a directory: one folder a stage.</summary>
internal sealed class DirectoryStateHome(string directory) : IStateHome
{
    private const string Prefix = "checkpoint-";

    /// <inheritdoc/>
    public IStateStore Open(string stage, string store, StoreKind kind, StoreSizes sizes, StoreCheckpoint? restore) =>
        new FasterStore(Path.Combine(directory, stage, store), kind, sizes, restore);

    /// <inheritdoc/>
    public IReadOnlyList<(long Number, byte[] Json)> Manifests(string stage)
    {
        string folder = Path.Combine(directory, stage);
        if (!Directory.Exists(folder))
        {
            return [];
        }

        var found = new List<(long Number, byte[] Json)>();
        foreach (string file in Directory.EnumerateFiles(folder, Prefix + "*.json"))
        {
            if (long.TryParse(Path.GetFileNameWithoutExtension(file).AsSpan(Prefix.Length), out long number))
            {
                found.Add((number, File.ReadAllBytes(file)));
            }
        }

        return [.. found.OrderByDescending(manifest => manifest.Number)];
    }

    /// <inheritdoc/>
    public long? SavedAtMs(string stage)
    {
        var folder = new DirectoryInfo(Path.Combine(directory, stage));
        FileInfo[] manifests = folder.Exists ? folder.GetFiles(Prefix + "*.json") : [];
        return manifests.Length == 0 ? null : new DateTimeOffset(manifests.Max(file => file.LastWriteTimeUtc)).ToUnixTimeMilliseconds();
    }

    /// <inheritdoc/>
    public void WriteManifest(string stage, long number, byte[] json)
    {
        string folder = Path.Combine(directory, stage);
        Directory.CreateDirectory(folder);
        string file = Path.Combine(folder, $"{Prefix}{number}.json");
        string temporary = file + ".tmp";
        using (var stream = new FileStream(temporary, FileMode.Create, FileAccess.Write, FileShare.None))
        {
            stream.Write(json);
            stream.Flush(flushToDisk: true);
        }

        if (!File.ReadAllBytes(temporary).AsSpan().SequenceEqual(json))
        {
            throw new CheckpointFailedException($"The manifest {temporary} does not read back. The older checkpoint stays.");
        }

        File.Move(temporary, file, overwrite: true);
        LocalFiles.SyncDirectory(folder); // Before the generation that it replaces is removed.
    }

    /// <inheritdoc/>
    public void RemoveManifest(string stage, long number) => File.Delete(Path.Combine(directory, stage, $"{Prefix}{number}.json"));
}

/// <summary>State in memory; it outlives a simulated crash, as a disk does.</summary>
internal sealed class MemoryStateHome : IStateHome
{
    private readonly Dictionary<(string Stage, string Store), Dictionary<Guid, Dictionary<UInt128, byte[]>>> _stores = [];
    private readonly Dictionary<string, SortedDictionary<long, byte[]>> _manifests = [];

    /// <inheritdoc/>
    public IStateStore Open(string stage, string store, StoreKind kind, StoreSizes sizes, StoreCheckpoint? restore)
    {
        if (!_stores.TryGetValue((stage, store), out Dictionary<Guid, Dictionary<UInt128, byte[]>>? saved))
        {
            _stores[(stage, store)] = saved = [];
        }

        return new MemoryStore(saved, restore);
    }

    /// <inheritdoc/>
    public IReadOnlyList<(long Number, byte[] Json)> Manifests(string stage) =>
        _manifests.TryGetValue(stage, out SortedDictionary<long, byte[]>? manifests) ? [.. manifests.Reverse().Select(manifest => (manifest.Key, manifest.Value))] : [];

    /// <inheritdoc/>
    public long? SavedAtMs(string stage) => null;

    /// <inheritdoc/>
    public void WriteManifest(string stage, long number, byte[] json)
    {
        if (!_manifests.TryGetValue(stage, out SortedDictionary<long, byte[]>? manifests))
        {
            _manifests[stage] = manifests = [];
        }

        manifests[number] = json;
    }

    /// <inheritdoc/>
    public void RemoveManifest(string stage, long number) => _manifests[stage].Remove(number);
}
