using System.Text.Json;

namespace StreamCdp.Cli.Import;

/// <summary>How far an import is: written after each acknowledged batch, by rename, so that it is whole after a kill at any point.</summary>
/// <param name="Identity">Of the file.</param>
/// <param name="Lines">Everything up to this line is sent or rejected.</param>
/// <param name="Sent">Events acknowledged.</param>
/// <param name="Rejected">Rows rejected.</param>
/// <param name="RejectedBytes">Length of the file of rejected rows; what a kill left behind it is cut off.</param>
/// <param name="IsDone">The end of the file was reached.</param>
internal sealed record ImportState(string Identity, long Lines, long Sent, long Rejected, long RejectedBytes, bool IsDone)
{
    private static readonly JsonSerializerOptions s_options = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    /// <summary>Reads it; null: there is none.</summary>
    /// <exception cref="CliException">It is not one of ours.</exception>
    public static ImportState? Load(string path)
    {
        if (!File.Exists(path))
        {
            return null;
        }

        try
        {
            return JsonSerializer.Deserialize<ImportState>(File.ReadAllBytes(path), s_options);
        }
        catch (JsonException exception)
        {
            throw new CliException($"{path} is not the progress of an import: {exception.Message} Remove it, or name another with --state.", inner: exception);
        }
    }

    /// <summary>Writes it.</summary>
    public void Save(string path)
    {
        File.WriteAllBytes(path + ".tmp", JsonSerializer.SerializeToUtf8Bytes(this, s_options));
        File.Move(path + ".tmp", path, overwrite: true);
    }
}
