// Against what transformers renders: tests/fixtures/chat.json, written by scripts/make_chat_fixtures.py.
#include "tokenizer/chat_template.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "tests/tokenizer/tokenizer_fixtures.h"

namespace spqr {
namespace {

const ChatTokens kTokens{"<s>", "</s>"};

nlohmann::json chat_fixture() {
  return nlohmann::json::parse(read_bytes(std::filesystem::path(SPQR_FIXTURES) / "chat.json"));
}

std::vector<ChatMessage> messages_of(const nlohmann::json& objects) {
  std::vector<ChatMessage> messages;
  for (const auto& object : objects) {
    ChatMessage message;
    if (object["role"] == "system") message.role = ChatRole::system;
    if (object["role"] == "assistant") message.role = ChatRole::assistant;
    message.content = object["content"];
    messages.push_back(message);
  }
  return messages;
}

TEST_CASE("chat templates write what transformers renders, and refuse what it refuses") {
  const nlohmann::json cases = chat_fixture()["cases"];
  CHECK(cases.size() > 100);
  for (const auto& item : cases) {
    CAPTURE(item.dump());
    const std::vector<ChatMessage> messages = messages_of(item["messages"]);
    const ChatTemplate chat = ChatTemplate::parse(item["template"].get<std::string>(), kTokens);
    if (item["text"].is_null()) {
      CHECK_THROWS_AS(chat.render(messages), std::invalid_argument);
    } else {
      CHECK(chat.render(messages).text == item["text"]);
    }
  }
}

TEST_CASE("a template gets the tokens that the model's files name") {
  const auto tokenizer = load_tokenizer(smollm2_files());  // <|endoftext|> ends a text too, and is id 0
  const ChatTokens tokens = chat_tokens(*tokenizer, std::vector<std::int32_t>{0});
  const std::string source =
      "{{ bos_token ~ '|' ~ eos_token ~ '|' ~ unk_token ~ '|' ~ pad_token }}"
      "{% for m in messages %}{{ m.content }}{% endfor %}";
  CHECK(ChatTemplate::parse(source, tokens).render(std::vector<ChatMessage>{{ChatRole::user, ""}}).text ==
        "<|im_start|>|<|im_end|>|<|endoftext|>|<|im_end|>");

  const auto bare = load_tokenizer({{"tokenizer.json", fixture("smollm2/tokenizer.json")}});
  CHECK(chat_tokens(*bare, std::vector<std::int32_t>{2, 0}).eos == "<|im_end|>");
  CHECK(chat_tokens(*bare, {}).eos.empty());
}

TEST_CASE("templates that cannot be run exactly are refused, not guessed") {
  const nlohmann::json sources = chat_fixture()["refused"];
  for (const auto& source : sources) {
    CAPTURE(source.dump());
    CHECK_THROWS_WITH_AS(ChatTemplate::parse(source.get<std::string>(), kTokens),
                         doctest::Contains("--chat-template"), std::runtime_error);
  }
}

TEST_CASE("what stands around an answer is learnt from the template") {
  struct Around {
    const char* name;
    const char* lead_in;
    const char* end;
  };
  for (const Around& around :
       {Around{"chatml", "", "<|im_end|>"}, Around{"llama-2", " ", "</s>"}, Around{"mistral", "", "</s>"},
        Around{"falcon", " ", "User:"}, Around{"llama-3", "", "<|eot_id|>"}, Around{"vicuna", " ", "</s>"}}) {
    CAPTURE(around.name);
    const ChatTemplate chat = ChatTemplate::named(around.name, kTokens);
    CHECK(chat.lead_in() == around.lead_in);
    CHECK(chat.end_of_answer() == around.end);
  }
}

TEST_CASE("empty contents have a place") {
  const ChatTemplate chat = ChatTemplate::named("chatml", kTokens);
  const std::vector<ChatMessage> messages{
      {ChatRole::user, ""}, {ChatRole::assistant, ""}, {ChatRole::user, "x"}};
  const RenderedChat rendered = chat.render(messages);
  const std::string text =
      "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n<|im_start|>user\nx<|im_end|>\n"
      "<|im_start|>assistant\n";
  CHECK(rendered.text == text);
  REQUIRE(rendered.find(1) != nullptr);
  CHECK(text.substr(rendered.find(1)->range.begin).starts_with("<|im_end|>\n<|im_start|>user\nx"));
  CHECK(rendered.find(1)->range.begin == rendered.find(1)->range.end);
}

TEST_CASE("what comes from messages is known apart from the format") {
  const std::vector<ChatMessage> messages{{ChatRole::system, "<|im_end|>"},
                                          {ChatRole::user, "a<|im_start|>b"}};
  for (const std::string& name : ChatTemplate::names()) {
    CAPTURE(name);
    const RenderedChat chat = ChatTemplate::named(name, kTokens).render(messages);
    REQUIRE(chat.contents.size() == 2);
    for (std::size_t i = 0; i < 2; ++i) {
      const TextRange range = chat.contents[i].range;
      CHECK(chat.text.substr(range.begin, range.end - range.begin) == messages[i].content);
    }
  }
}

TEST_CASE("conversations are a system message at most, then turns") {
  const ChatTemplate chat = ChatTemplate::named("chatml", kTokens);
  using Messages = std::vector<ChatMessage>;
  const ChatMessage system{ChatRole::system, "s"};
  const ChatMessage user{ChatRole::user, "u"};
  const ChatMessage assistant{ChatRole::assistant, "a"};
  for (const Messages& wrong : {Messages{assistant}, Messages{user, user}, Messages{user, system},
                                Messages{system, assistant}, Messages{system, system}}) {
    CHECK_THROWS_AS(chat.render(wrong), std::invalid_argument);
  }
  CHECK(chat.render(Messages{system}).text == "<|im_start|>system\ns<|im_end|>\n");
  CHECK_THROWS_WITH_AS(ChatTemplate::named("chat", kTokens), doctest::Contains("chatml, llama-2"),
                       std::invalid_argument);
}

}  // namespace
}  // namespace spqr
