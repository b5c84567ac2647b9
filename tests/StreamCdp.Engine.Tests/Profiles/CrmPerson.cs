using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Profiles;
using StreamCdp.Engine.Tests.Segments;

namespace StreamCdp.Engine.Tests.Profiles;

/// <summary>A profile that gets CRM records.</summary>
internal sealed class CrmPerson
{
    private readonly CrmRules _rules;

    public CrmPerson()
        : this(new ProfileState()) => Profile.Reset(1);

    /// <param name="profile">Gets the records.</param>
    public CrmPerson(ProfileState profile)
    {
        Profile = profile;
        _rules = new CrmRules(Model, Skipped);
    }

    public static CdpModel Model { get; } = Build.Cdp() with
    {
        Sources = [new("hubspot", null, "crm", true), new("sales", null, "crm", true), new("forms", null, "crm", false), new("shop", null, "server", true)],
    };

    public CrmSkipped Skipped { get; } = new();

    public ProfileState Profile { get; }

    /// <summary>One write; the offset breaks ties of time.</summary>
    public CrmPerson Write(string type, string id, string? fields, long timeMs, long offset = 0, string source = "hubspot") =>
        Event($$$"""{"crm":{"object":"{{{type}}}","id":{{{JsonSerializer.Serialize(id)}}},"fields":{{{fields ?? "null"}}}}}""", timeMs, offset, source);

    /// <summary>An event with a context.</summary>
    public CrmPerson Event(string context, long timeMs = 1, long offset = 0, string source = "hubspot")
    {
        byte[] bytes = Encoding.UTF8.GetBytes(source);
        if (_rules.IsCrm(bytes))
        {
            _rules.Apply(Profile, Encoding.UTF8.GetBytes(context), bytes, new EventOrder(timeMs, offset, 0));
        }

        return this;
    }

    public CrmPerson Merge(CrmPerson loser)
    {
        _rules.Merge(Profile, loser.Profile);
        return this;
    }

    /// <summary>Written and read.</summary>
    public CrmPerson Store()
    {
        byte[] record = Record();
        Profile.Read(Profile.Id, record);
        Assert.Equal(record, Record());
        return this;
    }

    public byte[] Record()
    {
        byte[] record = [];
        int length = Profile.Write(ref record);
        return record[..length];
    }

    public string Document() => Person.Written(writer => ProfileDocument.WriteCrm(writer, Profile)).GetRawText();
}
