#include "runtime/apps/line_reader.h"

#include <histedit.h>
#include <langinfo.h>
#include <termios.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string_view>

#include "runtime/apps/command_line.h"

namespace spqr {
namespace {

constexpr int kHistorySize = 1000;
// Terminals put pasted text between these two when asked to.
constexpr const char* kPasteOn = "\033[?2004h";
constexpr const char* kPasteOff = "\033[?2004l";
constexpr std::wstring_view kPasteEnd = L"\033[201~";

TypedInput& typed_input() {
  static TypedInput input;
  return input;
}

void append_utf8(std::string& text, wchar_t character) {
  const auto c = static_cast<unsigned long>(character);
  if (c < 0x80) {
    text += static_cast<char>(c);
    return;
  }
  const int following = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  constexpr unsigned long kLeads[] = {0, 0xc0, 0xe0, 0xf0};
  text += static_cast<char>(kLeads[following] | c >> (6 * following));
  for (int i = following - 1; i >= 0; --i) text += static_cast<char>(0x80 | (c >> (6 * i) & 0x3f));
}

Typed read_plain(std::string& line) {
  wchar_t character = 0;
  while (true) {
    const Typed got = typed_input().next(character);
    if (got == Typed::interrupted) return got;
    if (got == Typed::end) return line.empty() ? Typed::end : Typed::line;
    if (character == L'\n') {
      if (line.ends_with('\r')) line.pop_back();
      return Typed::line;
    }
    append_utf8(line, character);
  }
}

// libedit draws by the locale; C.UTF-8 is always there.
void choose_utf8() {
  std::setlocale(LC_CTYPE, "");
  if (std::string_view(nl_langinfo(CODESET)) != "UTF-8") std::setlocale(LC_CTYPE, "C.UTF-8");
}

}  // namespace

struct LineReader::Editor {
  EditLine* line = nullptr;
  History* history = nullptr;
  std::string prompt;
  Typed outcome = Typed::line;
  bool marks_pastes = true;  // not where the terminal knows no control sequences

  static Editor& of(EditLine* line) {
    void* data = nullptr;
    el_get(line, EL_CLIENTDATA, &data);
    return *static_cast<Editor*>(data);
  }

  static const char* show_prompt(EditLine* line) { return of(line).prompt.c_str(); }

  // 1: a character; 0: end of input; -1: interrupted.
  static int get(EditLine* line, wchar_t* character) {
    Editor& self = of(line);
    self.outcome = typed_input().next(*character, [&self] { self.set_up_again(); });
    if (self.outcome == Typed::line) return 1;
    return self.outcome == Typed::end ? 0 : -1;
  }

  // Everything up to the end mark at once: newlines do not send it, and it is drawn once.
  static unsigned char paste(EditLine* line, int /*key*/) {
    std::wstring text;
    wchar_t character = 0;
    while (!text.ends_with(kPasteEnd)) {
      if (get(line, &character) != 1) return CC_EOF;
      text += character == L'\r' ? L'\n' : character;
    }
    text.resize(text.size() - kPasteEnd.size());
    if (text.empty()) return CC_NORM;
    return el_winsertstr(line, text.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
  }

  Editor() {
    choose_utf8();
    install_change_handler();
    const char* kind = std::getenv("TERM");
    marks_pastes = kind != nullptr && std::string_view(kind) != "dumb";
    line = el_init("spqr-run", stdin, stdout, stderr);
    history = history_init();
    if (line == nullptr || history == nullptr)
      throw std::runtime_error("the terminal cannot be set up for editing");
    HistEvent event;
    ::history(history, &event, H_SETSIZE, kHistorySize);
    ::history(history, &event, H_SETUNIQUE, 1);
    el_set(line, EL_CLIENTDATA, this);
    el_set(line, EL_EDITOR, "emacs");
    el_set(line, EL_HIST, ::history, history);
    el_set(line, EL_PROMPT_ESC, &Editor::show_prompt, '\1');
    el_set(line, EL_GETCFN, &Editor::get);
    el_set(line, EL_ADDFN, "spqr-paste", "Insert pasted text", &Editor::paste);
    bind_keys();
    typed_input().take_interrupts();
    el_source(line, nullptr);  // the user's own .editrc
    stay_raw();
  }

  // The terminal leaves characters as they are between lines too: what is typed while an answer comes is
  // neither echoed into it nor taken for a line's end or the end of input. libedit does this only while it
  // reads. Ctrl-C is a character too.
  void stay_raw() {
    el_set(line, EL_PREP_TERM, 1);
    termios settings = {};
    if (tcgetattr(STDIN_FILENO, &settings) != 0) return;
    settings.c_cc[VINTR] = _POSIX_VDISABLE;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &settings);
  }

  // After a new size, or after the process was stopped, when a shell had the terminal to itself.
  void set_up_again() {
    el_set(line, EL_PREP_TERM, 0);
    stay_raw();
    el_resize(line);
    el_set(line, EL_REFRESH);
    if (marks_pastes) print(kPasteOn);  // which a shell may have turned off
  }

  void bind_keys() {
    constexpr const char* kKeys[][2] = {
        {"\\e[200~", "spqr-paste"},    {"\\e[3~", "ed-delete-next-char"}, {"\\e[1;5C", "em-next-word"},
        {"\\e[1;5D", "ed-prev-word"},  {"\\e[H", "ed-move-to-beg"},       {"\\e[F", "ed-move-to-end"},
        {"\\e[1~", "ed-move-to-beg"},  {"\\e[4~", "ed-move-to-end"},      {"^R", "em-inc-search-prev"},
        {"^W", "ed-delete-prev-word"},
    };
    for (const auto& [key, function] : kKeys) el_set(line, EL_BIND, key, function, nullptr);
  }

  ~Editor() {
    if (history != nullptr) history_end(history);
    if (line != nullptr) el_end(line);
  }
};

LineReader::LineReader(bool edited) : editor_(edited ? std::make_unique<Editor>() : nullptr) {}

LineReader::~LineReader() = default;

Typed LineReader::read(const std::string& prompt, std::string& line) {
  line.clear();
  if (!editor_) return read_plain(line);
  editor_->prompt = prompt;
  editor_->outcome = Typed::end;
  if (editor_->marks_pastes) print(kPasteOn);
  int count = 0;
  const char* text = el_gets(editor_->line, &count);
  if (editor_->marks_pastes) print(kPasteOff);
  editor_->stay_raw();
  if (text == nullptr || count <= 0)
    return editor_->outcome == Typed::interrupted ? Typed::interrupted : Typed::end;
  line.assign(text, static_cast<std::size_t>(count));
  if (line.ends_with('\n')) line.pop_back();
  return Typed::line;
}

bool LineReader::interrupted_meanwhile() {
  if (editor_ && typed_input().find_interrupt()) set_interrupted();
  return interrupted();
}

void LineReader::remember(const std::string& text) {
  if (!editor_) return;
  HistEvent event;
  ::history(editor_->history, &event, H_ENTER, text.c_str());
}

}  // namespace spqr
