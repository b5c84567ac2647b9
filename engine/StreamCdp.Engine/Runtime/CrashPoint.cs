using System.Diagnostics;

namespace StreamCdp.Engine.Runtime;

/// <summary>Moments at which a crash would hurt most, by name. A test names one in <c>STREAMCDP_CRASH_AT=name:count</c>, and the process ends there as by kill -9.</summary>
/// <remarks>Cost without the variable: none that can be measured, a read-only false that the compiler leaves out.</remarks>
internal static class CrashPoint
{
    /// <summary>Environment variable: the name, a colon, and at which passage the process ends (from 1).</summary>
    public const string Variable = "STREAMCDP_CRASH_AT";

    /// <summary>A profile has a new membership; neither that nor the profile is appended or stored.</summary>
    public const string ProfileChanged = "profile:changed";

    /// <summary>A profile with a new membership is in the store; the membership is appended and not yet durable.</summary>
    public const string ProfileWritten = "profile:state-written";

    /// <summary>A merged profile is a redirect; its record for the survivor is appended and not yet durable.</summary>
    public const string ProfileMergedAway = "profile:merged-away";

    /// <summary>The resolver's merge commands are durable; its decisions and the outcome are not appended.</summary>
    public const string ResolverCommandsDurable = "resolve:commands-durable";

    /// <summary>The router's question is appended; the event is not passed on.</summary>
    public const string RouterAsked = "route:asked";

    /// <summary>Question and answer are durable; the event is not passed on.</summary>
    public const string RouterAnswered = "route:answered";

    /// <summary>All stores of a stage are saved, its outputs are durable; there is no manifest.</summary>
    public const string CheckpointStoresSaved = "checkpoint:stores-saved";

    /// <summary>The new manifest counts; the generation before the last is not removed.</summary>
    public const string CheckpointManifestWritten = "checkpoint:manifest-written";

    /// <summary>The old generation's manifest is removed; its stores are not.</summary>
    public const string CheckpointOldManifestRemoved = "checkpoint:old-manifest-removed";

    private static readonly (string Name, int Count) s_armed = Read();

    /// <summary>A test wants a crash.</summary>
    public static readonly bool IsArmed = s_armed.Count > 0;

    private static int s_passed;

    /// <summary>Ends the process here if this is the passage that the test asked for.</summary>
    public static void Hit(string name)
    {
        if (IsArmed && name == s_armed.Name && Interlocked.Increment(ref s_passed) == s_armed.Count)
        {
            Die();
        }
    }

    private static void Die()
    {
        // SIGKILL, on Windows TerminateProcess: no finally block, no flush, no last checkpoint.
        using var self = Process.GetCurrentProcess();
        self.Kill();
        Thread.Sleep(Timeout.Infinite);
    }

    private static (string Name, int Count) Read()
    {
        string text = Environment.GetEnvironmentVariable(Variable) ?? "";
        int colon = text.LastIndexOf(':');
        return colon > 0 && int.TryParse(text.AsSpan(colon + 1), out int count) ? (text[..colon], count) : default;
    }
}
