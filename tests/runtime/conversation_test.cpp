#include "runtime/conversation.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <stdexcept>

#include "runtime/conversation_file.h"
#include "tests/models/files.h"
#include "tests/runtime/small_models.h"

namespace spqr {
namespace {

// Talks with a model that only tells stories, in the manner of vicuna unless told otherwise.
class Talk {
 public:
  explicit Talk(std::int64_t context, std::string system = "", const char* format = "vicuna") {
    write_stories_model(directory_.path() / "stories.spqr");
    session_ = open(context);
    conversation_ = std::make_unique<Conversation>(*session_, ChatTemplate::named(format, {"<s>", "</s>"}),
                                                   std::move(system));
  }

  std::unique_ptr<Session> open(std::int64_t context) const {
    return std::make_unique<Session>(SessionOptions{.model = directory_.path() / "stories.spqr",
                                                    .context = context,
                                                    .cache_types = {CacheType::f32, CacheType::f32}});
  }
  Answer say(const std::string& text, std::int64_t tokens = 12) {
    Sampler sampler(kGreedy);
    return conversation_->say(text, sampler, {.max_tokens = tokens}, {});
  }
  Answer regenerate() {
    Sampler sampler(kGreedy);
    return conversation_->regenerate(sampler, {.max_tokens = 12}, {});
  }
  std::string decoded() const { return session_->tokenizer()->decode(session_->ids(), true); }

  static constexpr SamplerOptions kGreedy{.temperature = 0};
  TemporaryDirectory directory_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Conversation> conversation_;
};

std::vector<std::int32_t> copy(std::span<const std::int32_t> ids) {
  return {ids.begin(), ids.end()};
}

}  // namespace

TEST_CASE("a turn evaluates its own tokens only, and answers as if all had been evaluated at once") {
  Talk talk(400);
  const Answer first = talk.say("Tell me of Lily.");
  const std::vector<std::int32_t> before = copy(talk.session_->ids());
  const Answer second = talk.say("And then?");
  CHECK(second.generated.prompt_tokens < first.generated.prompt_tokens);
  const std::vector<std::int32_t> after = copy(talk.session_->ids());
  REQUIRE(after.size() > before.size());
  CHECK(std::equal(before.begin(), before.end(), after.begin()));
  const std::string text = talk.decoded();
  CHECK(contains(text, "USER: Tell me of Lily. ASSISTANT:" + first.generated.text));
  CHECK(contains(text, "</s>USER: And then? ASSISTANT:"));

  // The last token of an answer is not evaluated.
  const auto prompt = std::span(after).first(after.size() - second.generated.ids.size() + 1);
  const auto fresh = talk.open(400);
  Sampler sampler(Talk::kGreedy);
  CHECK(generate(*fresh, sampler, prompt, {.max_tokens = 12}, {}).ids == second.generated.ids);
}

TEST_CASE("undo and another answer go back to where they were") {
  Talk talk(400);
  talk.say("Tell me of Lily.");
  const Answer second = talk.say("And then?");
  const Answer again = talk.regenerate();
  CHECK(again.generated.ids == second.generated.ids);
  CHECK(again.generated.prompt_tokens == 1);
  CHECK(talk.conversation_->undo());
  CHECK(talk.conversation_->messages().size() == 2);
  const Answer other = talk.say("And then?");
  CHECK(other.generated.ids == second.generated.ids);
  CHECK(other.generated.prompt_tokens == 1);  // all the rest is what the cache has
  CHECK(talk.conversation_->undo());
  CHECK(talk.conversation_->undo());
  CHECK_FALSE(talk.conversation_->undo());
  CHECK_THROWS_AS(talk.regenerate(), std::runtime_error);
}

TEST_CASE("where the context is full the oldest turns leave and the system message stays") {
  Talk talk(150, "Be kind.");
  std::int64_t dropped = 0;
  int turns = 0;
  for (; dropped == 0 && turns < 20; ++turns)
    dropped = talk.say("Number " + std::to_string(turns)).turns_dropped;
  REQUIRE(dropped > 0);
  CHECK(talk.session_->length() <= 150);
  CHECK(talk.decoded().starts_with("<s>Be kind. USER: Number " + std::to_string(dropped) + " ASSISTANT:"));
  CHECK(talk.conversation_->messages().front().content == "Be kind.");
  const std::vector<ChatMessage> all = talk.conversation_->messages();
  REQUIRE(all.size() == 1 + 2 * static_cast<std::size_t>(turns));
  CHECK(all[1].content == "Number 0");

  for (std::int64_t known = turns - dropped; known > 0; --known) CHECK(talk.conversation_->undo());
  CHECK(talk.conversation_->messages().size() == 1 + 2 * static_cast<std::size_t>(dropped));
  talk.say("Again");
  CHECK(talk.decoded().starts_with("<s>Be kind. USER: Number 0 ASSISTANT:"));
}

TEST_CASE("how much the next message finds before it") {
  Talk talk(150, "Be kind.");
  CHECK(talk.conversation_->length() == 0);
  talk.say("One.");
  const std::int64_t one = talk.conversation_->length();
  CHECK(one == talk.session_->length() + 1);  // an answer's last token is not evaluated yet
  talk.say("Two.");
  CHECK(talk.conversation_->length() == talk.session_->length() + 1);
  talk.conversation_->undo();
  CHECK(talk.conversation_->length() == one);
  talk.conversation_->set_system("Be very kind.");
  CHECK(talk.conversation_->length() > one);
  talk.conversation_->reset();
  CHECK(talk.conversation_->length() == 0);
  for (int i = 0; i < 10; ++i) talk.say("Number " + std::to_string(i));
  CHECK(talk.conversation_->length() <= 150);
}

TEST_CASE("an answer that fills the context goes on without the oldest turns, or ends") {
  Talk talk(150, "Be kind.");
  talk.say("One.");
  const Answer answer = talk.say("Two.", 200);
  CHECK(answer.turns_dropped == 1);
  CHECK(answer.generated.reason == FinishReason::context);
  CHECK(talk.session_->length() == 150);
  CHECK(
      talk.decoded().starts_with("<s>Be kind. USER: Two. ASSISTANT:" + answer.generated.text.substr(0, 40)));
}

TEST_CASE("a message that is too long is refused, and nothing changes") {
  Talk talk(100, "Be kind.");
  talk.say("One.");
  std::string text;
  for (int i = 0; i < 100; ++i) text += "word ";
  CHECK(contains(message_of([&] { talk.say(text); }), "the context has 100; -c makes it larger"));
  CHECK(talk.conversation_->messages().size() == 3);
  CHECK(talk.say("Two.").generated.ids.size() == 12);
}

TEST_CASE("what a person types is no special token") {
  Talk talk(400);
  talk.say("</s><s>");
  const auto ids = talk.session_->ids();
  CHECK(std::ranges::count(ids, talk.session_->tokenizer()->bos_id()) == 1);
  CHECK(std::ranges::count(ids, talk.session_->tokenizer()->eos_ids().front()) == 0);
  talk.conversation_->reset();
  talk.say(std::string(10, '\xff') + "</s></s></s>");  // repaired text is longer
  CHECK(std::ranges::count(talk.session_->ids(), talk.session_->tokenizer()->eos_ids().front()) == 0);
}

TEST_CASE("an answer that was interrupted before it began leaves no turn") {
  Talk talk(400);
  Sampler sampler(Talk::kGreedy);
  GenerateCallbacks callbacks;
  callbacks.interrupted = [] { return true; };
  const Answer answer = talk.conversation_->say("One.", sampler, {}, callbacks);
  CHECK(answer.generated.reason == FinishReason::interrupted);
  CHECK(talk.conversation_->messages().empty());
}

TEST_CASE("a conversation goes to a file and comes back") {
  Talk talk(400, "Be kind.");
  talk.say("One.");
  talk.say("Two \"and\" a half\n.");
  const auto path = talk.directory_.path() / "talk.json";
  write_conversation(path, talk.conversation_->messages());
  const Answer expected = talk.say("Three.");
  talk.conversation_->reset();
  talk.conversation_->set_system("");
  talk.conversation_->restore(read_conversation(path));
  CHECK(talk.conversation_->system() == "Be kind.");
  CHECK(talk.conversation_->messages().size() == 5);
  CHECK(talk.say("Three.").generated.text == expected.generated.text);
}

// As transformers renders these conversations (tests/fixtures/chat.json has the formats): what the cache
// holds is the text that the model's template makes of the messages.
TEST_CASE("what was said, saved and loaded again is the template's text") {
  for (const char* format : {"vicuna", "llama-2", "mistral", "alpaca", "zephyr", "falcon"}) {
    CAPTURE(format);
    Talk talk(500, "Be kind.", format);
    const ChatTemplate chat = ChatTemplate::named(format, {"<s>", "</s>"});
    talk.conversation_->restore(std::vector<ChatMessage>{{ChatRole::system, "Be kind."},
                                                         {ChatRole::user, "Who are you?"},
                                                         {ChatRole::assistant, "I am Lily."},
                                                         {ChatRole::user, "And he?"},
                                                         {ChatRole::assistant, "That is Tim."}});
    std::vector<ChatMessage> messages = talk.conversation_->messages();
    talk.say("Thank you.", 1);
    messages.push_back({ChatRole::user, "Thank you."});
    CHECK(talk.decoded() == chat.render(messages).text);
  }
}

// Templates that write earlier turns otherwise once there are later ones: the cache follows the template.
TEST_CASE("a template may change what it wrote before") {
  const char* const system_last =
      "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST]' }}"
      "{% if loop.last and messages[0].role == 'system' %}{{ messages[0].content + ' ' }}{% endif %}"
      "{{ m.content + '[/INST]' }}{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}{% endif "
      "%}"
      "{% endfor %}";
  const char* const thinking =
      "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' }}"
      "{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] + eos_token }}"
      "{% else %}{{ m.content }}{% endif %}{{ '\n' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ 'assistant: <think>' }}{% endif %}";
  for (const char* source : {system_last, thinking}) {
    CAPTURE(std::string(source));
    Talk talk(500);
    const ChatTemplate chat = ChatTemplate::parse(source, {"<s>", "</s>"});
    talk.conversation_ = std::make_unique<Conversation>(*talk.session_, chat, "Be kind.");
    talk.conversation_->restore(std::vector<ChatMessage>{{ChatRole::system, "Be kind."},
                                                         {ChatRole::user, "Who are you?"},
                                                         {ChatRole::assistant, "Hm.</think>I am Lily."}});
    for (const char* said : {"And he?", "Thank you."}) {
      std::vector<ChatMessage> messages = talk.conversation_->messages();
      messages.push_back({ChatRole::user, said});
      talk.say(said, 1);
      CHECK(talk.decoded() == chat.render(messages).text);
      messages.push_back({ChatRole::assistant, "Hm.</think>He is Tim."});
      talk.conversation_->restore(messages);
    }
  }
}

TEST_CASE("a conversation that its template does not take is refused and forgotten") {
  Talk talk(400);
  talk.conversation_ = std::make_unique<Conversation>(
      *talk.session_,
      ChatTemplate::parse("{% for m in messages %}{% if m.content == 'No.' %}{{ raise_exception('no No') }}"
                          "{% endif %}{{ m.content }}{% endfor %}",
                          {"<s>", "</s>"}),
      "");
  CHECK_THROWS_WITH_AS(talk.say("No."), doctest::Contains("no No"), std::invalid_argument);
  CHECK(talk.conversation_->messages().empty());
  CHECK_NOTHROW(talk.say("Hello."));
}

TEST_CASE("a system message that the template would leave out is refused at once") {
  const char* const silent =
      "{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}";
  const char* const raising =
      "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
      "{% for m in messages %}{{ m.content }}{% endfor %}";
  for (const auto& [source, why] : {std::pair{silent, "does not write system messages"},
                                    std::pair{raising, "takes no system message: no system"}}) {
    CAPTURE(std::string(source));
    Talk talk(400);
    const ChatTemplate chat = ChatTemplate::parse(source, {"<s>", "</s>"});
    CHECK_THROWS_WITH_AS(Conversation(*talk.session_, chat, "Be kind."), doctest::Contains(why),
                         std::invalid_argument);
    talk.conversation_ = std::make_unique<Conversation>(*talk.session_, chat, "");
    talk.say("Hello.");
    CHECK_THROWS_AS(talk.conversation_->set_system("Be kind."), std::invalid_argument);
    const std::vector<ChatMessage> told{
        {ChatRole::system, "Be kind."}, {ChatRole::user, "Hi."}, {ChatRole::assistant, "Ho."}};
    CHECK_THROWS_AS(talk.conversation_->restore(told), std::invalid_argument);
    CHECK(talk.conversation_->messages().size() == 2);
    CHECK_NOTHROW(talk.conversation_->set_system(""));
  }
}

TEST_CASE("what a format has in front of an answer is no part of it") {
  Talk talk(400);
  std::string streamed;
  GenerateCallbacks callbacks;
  callbacks.text = [&](std::string_view text) {
    streamed += text;
    return true;
  };
  Sampler sampler(Talk::kGreedy);
  const Answer answer = talk.conversation_->say("One.", sampler, {.max_tokens = 8}, callbacks);
  REQUIRE(answer.generated.text.starts_with(' '));
  const std::string content = talk.conversation_->messages().back().content;
  CHECK(" " + content == answer.generated.text);
  CHECK(streamed == content);
}

TEST_CASE("what stands between an answer and the text that ends it is the format's") {
  Talk talk(400);
  Sampler sampler(Talk::kGreedy);
  const std::string whole = talk.say("One.", 40).generated.text;
  const std::size_t space = whole.find(' ', 6);
  REQUIRE(space != std::string::npos);
  talk.conversation_->undo();
  const std::string next = whole.substr(space + 1, 4);
  talk.conversation_->say("One.", sampler, {.max_tokens = 40, .stop = {next}}, {});
  CHECK(talk.conversation_->messages().back().content == whole.substr(1, space - 1));
}

TEST_CASE("penalties look at the conversation, not at what was evaluated last") {
  const SamplerOptions penalized{.temperature = 0, .repeat_penalty = 1.5F, .repeat_last_n = -1};
  Talk talk(400);
  Sampler first(penalized);
  talk.conversation_->say("One.", first, {.max_tokens = 12}, {});
  const Answer second = talk.conversation_->say("Two.", first, {.max_tokens = 12}, {});
  Sampler fresh(penalized);
  const Answer again = talk.conversation_->regenerate(fresh, {.max_tokens = 12}, {});
  CHECK(again.generated.prompt_tokens == 1);
  CHECK(again.generated.ids == second.generated.ids);
}

TEST_CASE("what was undone can be forgotten, the system message stays") {
  Talk talk(400, "Be kind.");
  talk.say("One.");
  talk.say("Two.");
  talk.conversation_->undo();
  talk.conversation_->forget_undone();
  CHECK_FALSE(contains(talk.decoded(), "Two"));
  CHECK(contains(talk.decoded(), "One"));
  talk.conversation_->reset();
  talk.conversation_->forget_undone();
  CHECK_FALSE(contains(talk.decoded(), "One"));
  CHECK(contains(talk.decoded(), "Be kind."));
}

TEST_CASE("files that are no conversation are refused by name") {
  TemporaryDirectory directory;
  for (const char* text :
       {"", "{}", "[1]", R"([{"role": "user"}])", R"([{"role": "user", "content": 1}])",
        R"([{"role": "tool", "content": "x"}])", R"([{"role": "user", "content": "\xff"}])"}) {
    CAPTURE(text);
    CHECK(contains(message_of([&] { read_conversation(directory.write("bad.json", text)); }), "bad.json"));
  }
  const auto pipe = directory.path() / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(contains(message_of([&] { read_conversation(pipe); }), "pipe: is not a regular file"));
  CHECK(contains(message_of([&] { write_conversation(pipe, {}); }), "pipe: cannot be written"));
  CHECK(contains(message_of([&] { read_conversation("-"); }), "-: cannot be opened"));
  std::filesystem::resize_file(directory.write("large.json", "["), 1U << 30U);
  CHECK(contains(message_of([&] { read_conversation(directory.path() / "large.json"); }), "is too large"));
  Talk talk(100);
  const ChatMessage user{ChatRole::user, "x"};
  const ChatMessage assistant{ChatRole::assistant, "x"};
  for (const std::vector<ChatMessage>& messages :
       {std::vector{user}, {assistant}, {user, user}, {user, assistant, user}})
    CHECK_THROWS_AS(talk.conversation_->restore(messages), std::invalid_argument);
  CHECK(talk.conversation_->messages().empty());
}

}  // namespace spqr
