// The language of chat templates: rules rendered by transformers (tests/fixtures/chat.json), what is known of
// texts that come from messages, and templates that mean harm.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tests/models/files.h"
#include "tokenizer/jinja/evaluator.h"
#include "tokenizer/jinja/parser.h"

namespace spqr::jinja {
namespace {

Value message(const std::string& content, std::size_t index) {
  return make_dict({{"role", "user"}, {"content", Text::of_message(content, index)}});
}

Text rendered(const std::string& source, const std::string& content) {
  const Value messages = make_list({message(content, 0), message("second", 1)});
  return evaluate(parse(source), {{"messages", messages}, {"content", Text::of_message(content, 0)}});
}

TEST_CASE("jinja: every rule as transformers has it") {
  const auto fixture = nlohmann::json::parse(read_bytes(std::filesystem::path(SPQR_FIXTURES) / "chat.json"));
  const std::string content = fixture["rules_messages"][0]["content"];
  CHECK(fixture["rules"].size() > 30);
  for (const auto& rule : fixture["rules"]) {
    CAPTURE(rule["template"].get<std::string>());
    const Text text = evaluate(parse(rule["template"].get<std::string>()),
                               {{"messages", make_list({message(content, 0)})}});
    CHECK(text.bytes() == rule["text"].get<std::string>());
  }
}

// Each expression writes "<X>" out of the message, between texts of the template that have none: wherever an
// X is, it has to be marked, and nothing else.
TEST_CASE("jinja: what comes from a message is known as such, whatever is done with it") {
  for (const std::string expression : {"content",
                                       "content + content",
                                       "'a' ~ content ~ 'b'",
                                       "content|trim",
                                       "content.strip()",
                                       "content.strip('<')",
                                       "content.rstrip() + content.lstrip('<')",
                                       "content[1:]",
                                       "content[::-1]",
                                       "content[1]",
                                       "content.split('<')|join('<')",
                                       "content.split()|join('-')",
                                       "content.split('<')|last",
                                       "content.replace('<', '(')",
                                       "content|replace('>', content)",
                                       "'ab'.replace('b', content)",
                                       "content|upper",
                                       "content|lower|upper",
                                       "content|title",
                                       "content.capitalize()|upper",
                                       "content|indent(2, true)",
                                       "['a', 'b']|join(content)",
                                       "[content, content]|join(', ')",
                                       "content.join(['a', 'b'])",
                                       "content * 2",
                                       "[content]",
                                       "{'a': content}",
                                       "{content: 1}",
                                       "{content: 1}|items|first|first",
                                       "{content: 1}.keys()|first",
                                       "[content]|string",
                                       "{'k': content}|tojson",
                                       "content|tojson",
                                       "[content]|tojson(indent=1)",
                                       "messages[0].content",
                                       "messages[0]['content']",
                                       "messages|map(attribute='content')|first",
                                       "messages|selectattr('content')|map(attribute='content')|join",
                                       "content|list|join",
                                       "content|reverse",
                                       "content|first ~ content[1]",
                                       "namespace(a=content).a",
                                       "content if content else ''",
                                       "content or 'b'",
                                       "content and content",
                                       "messages[0].get('content')",
                                       "messages[0].values()|last",
                                       "messages[0]|dictsort|first|last",
                                       "[[content]]|first|first",
                                       "content|default('b')",
                                       "missing|default(content)",
                                       "[content]|map('upper')|first",
                                       "content|safe",
                                       "(content, 1)[0]",
                                       "messages[0]|string",
                                       "strftime_now(content)",
                                       "content.title()",
                                       "content.rsplit('<', 1)|join('<')",
                                       "'a{}b{x}'.format(content, x=content)",
                                       "content.format()",
                                       "[content, '0']|sort|last",
                                       "('\xC3\xA9' ~ content)|upper",
                                       "content|string|trim('<')"}) {
    CAPTURE(expression);
    const Text text = rendered(fmt::format("ab{{{{ {} }}}}ab", expression), "<X>");
    std::size_t marked = 0;
    std::size_t found = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const char c = text.bytes()[i];
      bool in_message = false;
      for (const Mark& mark : text.marks())
        in_message = in_message || (mark.message == 0 && i >= mark.range.begin && i < mark.range.end);
      if (in_message) ++marked;
      if (c != 'X') continue;
      ++found;
      CHECK(in_message);
    }
    CHECK(found > 0);
    CHECK(marked > 0);
    REQUIRE_FALSE(text.marks().empty());
    CHECK(text.marks().front().range.begin >= 2);
    CHECK(text.marks().back().range.end <= text.size() - 2);
  }
}

TEST_CASE("jinja: statements keep what comes from messages apart") {
  for (const std::string source :
       {"{% set x = content %}{{ x }}", "{% set a, x = 1, content %}{{ x }}",
        "{% set x %}a{{ content }}b{% endset %}{{ x }}",
        "{% macro f(x) %}a{{ x }}{% endmacro %}{{ f(content) }}",
        "{% for x in [content] %}{{ x }}{% endfor %}", "{% for x in content %}{{ x }}{% endfor %}",
        "{% set ns = namespace() %}{% set ns.x = content %}{{ ns.x }}",
        "{% for k, v in messages[0].items() %}{{ v }}{% endfor %}",
        "{% for x in [1, 2] %}{{ content if loop.first }}{% endfor %}",
        "{% for x in [content, 1] %}{{ loop.previtem }}{% endfor %}",
        "{% generation %}{{ content }}{% endgeneration %}"}) {
    CAPTURE(source);
    const Text text = rendered(source, "<X>");
    const std::size_t at = text.bytes().find("<X>");
    REQUIRE(at != std::string::npos);
    REQUIRE(text.marks().size() >= 1);
    const Mark& mark = text.marks().back();
    CHECK(mark.range.begin <= at);
    CHECK(mark.range.end >= at + 3);
  }
  const Text both = rendered("{{ messages[1].content + content + 'a' }}", "one");
  REQUIRE(both.marks().size() == 2);
  CHECK(both.marks()[0].message == 1);
  CHECK(both.marks()[1].range.end == both.size() - 1);
}

// Sources that would take for ever, or all memory, or the stack.
TEST_CASE("jinja: templates that mean harm are refused, soon") {
  const auto many = [](const std::string& part, int count) {
    std::string all;
    for (int i = 0; i < count; ++i) all += part;
    return all;
  };
  const std::vector<std::string> sources{
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
      "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}",
      "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for a in range(99999) %}{% set ns.x = ns.x ~ ns.x "
      "%}{% endfor %}",
      "{% set ns = namespace(x=[1]) %}{% for a in range(99999) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
      "{% set ns = namespace(x=[1]) %}{% for a in range(99999) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ "
      "ns.x }}",
      "{% set ns = namespace(x=1) %}{% for a in range(999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
      "{% set ns = namespace(x=1) %}{% for a in range(999) %}{% set ns.x = {'a': ns.x} %}{% endfor %}{{ "
      "ns.x|tojson }}",
      "{{ 'a' * 99999999999 }}",
      "{{ ('a' * 30000000)|replace('a', 'a' * 1000) }}",
      "{{ range(99999)|join('a' * 1000000) }}",
      "{{ ('\n' * 1000000)|indent(1000, true, true) }}",
      "{{ [1]|tojson(indent=99999999999) }}",
      "{% for a in range(99999) %}{{ 'a' * 1000000 }}{% endfor %}",
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% macro f(x=f()) %}{% endmacro %}{{ f() }}",
      "{% set ns = namespace() %}{% set ns.x = ns %}",
      "{{ [namespace()] }}",
      "{% set ns = namespace() %}{% set ns.x = [ns] %}",
      "{{ range(0, 99999, 0) }}",
      "{{ range(-9223372036854775807, 9223372036854775807) }}",
      "{{ 'abc'[::0] }}",
      "{{ 2 ** 64 }}",
      "{{ 10.0 ** 999 }}",
      "{{ (-8) ** 0.5 }}",
      "{{ 3 ** 9223372036854775807 }}",
      "{{ '{}'.format() }}",
      "{{ '{:9999999999}'.format(1) }}",
      "{{ '\xC3\x9F'|upper }}",
      "{{ [1, 'a']|sort }}",
      "{% raw %}",
      "{{ (-9223372036854775807 - 1) // -1 }}",
      "{{ -(-9223372036854775807 - 1) }}",
      "{{ " + many("(", 5000) + "1" + many(")", 5000) + " }}",
      "{{ " + many("[", 5000),
      "{{ " + many("not ", 5000) + "1 }}",
      "{{ " + many("-", 5000) + "1 }}",
      "{{ 1" + many(" + 1", 5000) + " }}",
      "{{ 1" + many("|string", 5000) + " }}",
      "{{ messages" + many("[0]", 5000) + " }}",
      "{{ 1" + many(" if 1 else 1", 5000) + " }}",
      many("{% if true %}", 5000),
      "{% if true %}" + many("{% elif true %}", 5000) + "{% endif %}",
      many("{% for a in [1] %}", 500) + many("{% endfor %}", 500)};
  for (const std::string& source : sources) {
    CAPTURE(source.substr(0, 100));
    CHECK_THROWS_AS(rendered(source, "x"), Unsupported);
  }
}

}  // namespace
}  // namespace spqr::jinja
