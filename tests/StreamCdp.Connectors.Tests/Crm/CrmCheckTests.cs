using StreamCdp.Connectors.Crm;
using StreamCdp.Connectors.Tests.HubSpot;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Tests.Crm;

/// <summary>What a check says of mapped fields.</summary>
public sealed class CrmCheckTests
{
    private static readonly CrmField[] s_fields =
    [
        new("name", CrmFieldType.Text, IsReadOnly: false),
        new("active", CrmFieldType.Boolean, IsReadOnly: false),
        new("country", CrmFieldType.Text, IsReadOnly: true),
        new("stage", CrmFieldType.Text, IsReadOnly: false, [.. Enumerable.Range(1, 10).Select(i => $"s{i}")]),
    ];

    [Theory]
    [InlineData("name", "traits.name", "both", false, "name: text")]
    [InlineData("active", "traits.active", "both", false, "active: true or false")]
    [InlineData("country", "traits.country", "in", false, "country: text, can only be read")]
    [InlineData("stage", "traits.stage", "both", false, "stage: text, one of s1, s2, s3, s4, s5, s6, s7, s8 and 2 more")]
    [InlineData("nmae", "traits.name", "both", true, "contacts have no field \"nmae\"; did you mean \"name\"?")]
    [InlineData("telephone", "traits.phone", "in", true, "contacts have no field \"telephone\"; give the name of one that is there, or make it in the CRM")]
    [InlineData("country", "traits.country", "both", true, "the field \"country\" can only be read in the CRM; write direction: in, or take another field")]
    [InlineData("active", "computed.orders", "out", true, "the field \"active\" holds true or false, and computed.orders is a number; take another field")]
    public async Task Each_field_is_told_with_its_type_or_what_is_wrong(string field, string value, string direction, bool isProblem, string text)
    {
        await using var crm = new MemoryCrm(TimeProvider.System, new Random(1)) { Described = s_fields };

        Finding finding = (await CrmCheck.FieldsAsync(crm, [Rule(field, value, direction)], TestContext.Current.CancellationToken))[1];

        Assert.Equal(new Finding("contacts.fields." + field, text, isProblem), finding);
    }

    [Theory]
    [InlineData("firstname", "both", false, "firstname: text")]
    [InlineData("emial", "both", false, "emial: not there; the server makes it as text at its start; did you mean \"email\"?")]
    [InlineData("emial", "in", true, "contacts have no field \"emial\"; did you mean \"email\"?: a field that only comes in is not made")]
    [InlineData("My-Plan", "both", true, "HubSpot takes no property \"My-Plan\": allowed are lower case letters, digits and _, beginning with a letter; give it another name in the mapping")]
    [InlineData("createdate", "both", true, "the field \"createdate\" can only be read in the CRM; write direction: in, or take another field")]
    public async Task Of_HubSpot_it_is_told_which_fields_would_be_made_and_none_is(string field, string direction, bool isProblem, string text)
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync(isPrepared: false);
        int before = (await world.Crm.DescribeAsync(CrmObject.Contact, TestContext.Current.CancellationToken)).Count;

        Finding finding = (await CrmCheck.FieldsAsync(world.Crm, [Rule(field, "traits.x", direction)], TestContext.Current.CancellationToken))[1];

        Assert.Equal(new Finding("contacts.fields." + field, text, isProblem), finding);
        Assert.Equal(before, (await world.Crm.DescribeAsync(CrmObject.Contact, TestContext.Current.CancellationToken)).Count);
    }

    private static FieldRule Rule(string field, string value, string direction)
    {
        string[] path = value.Split('.');
        PathExpression expression = new(path[0] == "computed" ? PathRoot.Computed : PathRoot.Traits, new EquatableList<string>([path[1]]));
        return new FieldRule(field, expression, direction switch { "in" => SyncDirection.In, "out" => SyncDirection.Out, _ => SyncDirection.Both }, SyncPolicy.CrmWins, path[0] == "computed" ? CrmFieldType.Number : CrmFieldType.Text);
    }
}
