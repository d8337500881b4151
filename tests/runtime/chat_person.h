// A person at a pseudo-terminal who talks with a model that tells stories.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/models/files.h"
#include "tests/runtime/small_models.h"
#include "tests/runtime/terminal.h"
#include "tests/runtime/tools.h"

namespace spqr {

// A model that tells stories, asked in vicuna's manner.
class Stories {
 public:
  Stories() { write_stories_model(directory_.path() / "stories.spqr"); }

  Arguments chat(const Arguments& more) const {
    Arguments all = command("spqr-run", {"-m", file("stories.spqr"), "-cnv", "--chat-template", "vicuna",
                                         "--temp", "0", "-t", "1", "-n", "8"});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::string file(const std::string& name) const { return (directory_.path() / name).string(); }
  // Messages that /save wrote: "role: content".
  std::vector<std::string> saved(const std::string& name) const {
    std::vector<std::string> lines;
    for (const auto& message : nlohmann::json::parse(read_bytes(file(name))))
      lines.push_back(message["role"].get<std::string>() + ": " + message["content"].get<std::string>());
    return lines;
  }

 private:
  TemporaryDirectory directory_;
};

// A chat at a terminal whose person has typed nothing yet.
class Person {
 public:
  explicit Person(const Arguments& more = {}, const std::vector<std::string>& environment = {"NO_COLOR=1"})
      : terminal_(stories_.chat(more), environment) {
    terminal_.wait_for(kPrompt);
  }
  // Types a line and waits for the next prompt; what came until then.
  std::string type(const std::string& keys) {
    terminal_.type(keys + "\r");
    return terminal_.wait_for(kPrompt);
  }
  // What the person has said and heard.
  std::vector<std::string> messages() {
    type("/save " + stories_.file("talk.json"));
    return stories_.saved("talk.json");
  }
  std::string said(std::size_t turn) { return messages().at(2 * turn); }

  Stories stories_;
  Terminal terminal_;
};

}  // namespace spqr
