using System.Text.Json;
using StreamCdp.Engine.State;

namespace StreamCdp.Engine.Runtime;

/// <summary>Saves one stage: stores, then outputs durable, then the manifest; keeps two generations.</summary>
/// <remarks>
/// A checkpoint counts only when every output of what is in it is durable (adr/0003): a store may hold later writes than the manifest's
/// positions say, so the outputs of those are waited for, too. Redo from the positions is harmless.
/// </remarks>
/// <typeparam name="TManifest">What the stage notes besides its stores.</typeparam>
internal sealed class Checkpointer<TManifest>(string stage, IStateHome home, LogEffects effects, IReadOnlyList<IStateStore> stores)
    where TManifest : class
{
    private readonly StoreCheckpoint?[] _done = new StoreCheckpoint?[stores.Count];
    private readonly Queue<(long Number, Manifest Manifest)> _kept = [];
    private TManifest? _state;
    private LogEffects.Tickets? _tickets;
    private long _number;

    /// <summary>A save is under way.</summary>
    public bool IsRunning => _state is not null;

    /// <summary>Reads the manifests of a stage, newest first.</summary>
    public static IEnumerable<(long Number, Manifest Manifest)> Read(string stage, IStateHome home)
    {
        foreach ((long number, byte[] json) in home.Manifests(stage))
        {
            Manifest? manifest = null;
            try
            {
                manifest = JsonSerializer.Deserialize<Manifest>(json);
            }
            catch (JsonException)
            {
                // Cut by a crash before it was renamed into place: the older one counts.
            }

            if (manifest is not null)
            {
                yield return (number, manifest);
            }
        }
    }

    /// <summary>Takes over the generations that exist, so that numbers go on and old ones are deleted in time.</summary>
    public void Continue(IEnumerable<(long Number, Manifest Manifest)> manifests)
    {
        foreach ((long number, Manifest manifest) in manifests.OrderBy(manifest => manifest.Number))
        {
            _kept.Enqueue((number, manifest));
            _number = Math.Max(_number, number);
        }
    }

    /// <summary>Starts a save of the state as it is now.</summary>
    /// <exception cref="CheckpointFailedException">It cannot be started; the older ones stay good.</exception>
    public void Begin(TManifest state)
    {
        Array.Clear(_done);
        _tickets = null;
        for (int i = 0; i < stores.Count; i++)
        {
            // Before the next one asks for room: a crash may have left saved stores without a manifest, a full disk every save that failed.
            stores[i].RemoveAllBut([.. _kept.Select(kept => kept.Manifest.Stores[i])]);
            stores[i].BeginCheckpoint();
        }

        _state = state;
    }

    /// <summary>Goes on with a save; call it between records.</summary>
    /// <returns>True when it was just completed.</returns>
    /// <exception cref="CheckpointFailedException">It failed; the older ones stay good.</exception>
    public bool Poll()
    {
        if (_state is null)
        {
            return false;
        }

        try
        {
            for (int i = 0; i < stores.Count; i++)
            {
                if (_done[i] is null)
                {
                    if (!stores[i].TryCompleteCheckpoint(out StoreCheckpoint checkpoint))
                    {
                        return false;
                    }

                    _done[i] = checkpoint;
                }
            }
        }
        catch (CheckpointFailedException)
        {
            _state = null;
            throw;
        }

        _tickets ??= effects.Now();
        if (!effects.IsDurable(_tickets))
        {
            return false;
        }

        var manifest = new Manifest(_state, [.. _done!]);
        _state = null;
        CrashPoint.Hit(CrashPoint.CheckpointStoresSaved);
        home.WriteManifest(stage, ++_number, JsonSerializer.SerializeToUtf8Bytes(manifest));
        _kept.Enqueue((_number, manifest));
        while (_kept.Count > 2)
        {
            CrashPoint.Hit(CrashPoint.CheckpointManifestWritten);
            (long number, Manifest old) = _kept.Dequeue();
            home.RemoveManifest(stage, number);
            CrashPoint.Hit(CrashPoint.CheckpointOldManifestRemoved);
            for (int i = 0; i < stores.Count; i++)
            {
                stores[i].Remove(old.Stores[i]);
            }
        }

        return true;
    }

    /// <summary>A saved stage.</summary>
    internal sealed record Manifest(TManifest State, IReadOnlyList<StoreCheckpoint> Stores);
}
