#include "tokenizer/jinja/evaluator.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/subscripts.h"

namespace spqr::jinja {
namespace {

constexpr std::int64_t kMaxWork = 1 << 24;  // about a second
constexpr int kMaxCalls = 50;               // of macros, one in another

struct Scope {
  const Scope* outer = nullptr;
  std::map<std::string, Value> names{};

  const Value* find(const std::string& name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->outer) {
      if (const auto it = scope->names.find(name); it != scope->names.end()) return &it->second;
    }
    return nullptr;
  }
};

[[noreturn]] void fail(const std::string& what) {
  throw Unsupported(what);
}

enum class Flow { goes_on, leaves, next };

class Evaluator {
 public:
  explicit Evaluator(const std::map<std::string, Value>& variables) { root_.names = variables; }

  Text run(const Body& body) {
    try {
      write(body, root_);
      return std::move(out_);
    } catch (const Unsupported& error) {
      throw Unsupported(fmt::format("line {}: {}", line_, error.what()));
    }
  }

 private:
  using Kind = Expression::Kind;

  void spend(std::int64_t work) {
    work_ += work;
    if (work_ > kMaxWork) fail("it takes too long");
  }

  // ---- statements

  Flow write(const Body& body, Scope& scope) {
    for (const Statement& statement : body) {
      const Flow flow = write(statement, scope);
      if (flow != Flow::goes_on) return flow;
    }
    return Flow::goes_on;
  }

  Flow write(const Statement& statement, Scope& scope) {
    line_ = statement.line;
    spend(1);
    switch (statement.kind) {
      case Statement::Kind::text:
        append(statement.text);
        break;
      case Statement::Kind::output:
        append(to_text(value_of(*statement.expression, scope)));
        break;
      case Statement::Kind::conditional:
        return write(is_true(value_of(*statement.expression, scope)) ? statement.body : statement.other,
                     scope);
      case Statement::Kind::loop:
        return loop(statement, scope);
      case Statement::Kind::set:
        bind(statement.names, value_of(*statement.expression, scope), scope);
        break;
      case Statement::Kind::set_attribute:
        set_attribute(statement, scope);
        break;
      case Statement::Kind::set_block:
        scope.names[statement.names[0]] = captured([&] { write(statement.body, scope); });
        break;
      case Statement::Kind::macro:
        if (&scope != &root_) fail("a macro inside of a loop or macro is not supported");
        scope.names[statement.names[0]] = macro(statement);
        break;
      case Statement::Kind::leave:
        return Flow::leaves;
      case Statement::Kind::next:
        return Flow::next;
      case Statement::Kind::body:
        return write(statement.body, scope);
    }
    return Flow::goes_on;
  }

  void append(const Text& text) {
    spend(static_cast<std::int64_t>(text.size() / 16));
    out_ += text;
    if (out_.size() > kMaxTextBytes) fail("it writes too much text");
  }

  template <typename Write>
  Text captured(Write write) {
    Text before = std::exchange(out_, Text());
    write();
    return std::exchange(out_, std::move(before));
  }

  void set_attribute(const Statement& statement, Scope& scope) {
    const Value* found = scope.find(statement.names[0]);
    const auto* dict = found == nullptr ? nullptr : found->as<std::shared_ptr<Dict>>();
    if (dict == nullptr || !(*dict)->assignable)
      fail(fmt::format("'{}' is no namespace that could be assigned to", statement.names[0]));
    const std::shared_ptr<Dict> target = *dict;
    Value value = value_of(*statement.expression, scope);
    if (value.dict() != nullptr && value.dict()->opaque) fail("a namespace in a namespace is not supported");
    target->set(statement.names[1], std::move(value));
  }

  void bind(const std::vector<std::string>& names, const Value& item, Scope& scope) {
    if (names.size() == 1) {
      scope.names[names[0]] = item;
      return;
    }
    const std::vector<Value> parts = elements(item);
    if (parts.size() != names.size())
      fail(fmt::format("{} elements are not {} names", parts.size(), names.size()));
    for (std::size_t i = 0; i < names.size(); ++i) scope.names[names[i]] = parts[i];
  }

  Flow loop(const Statement& statement, Scope& outer) {
    const Value over = value_of(*statement.expression, outer);
    spend(weight_of(over));
    std::vector<Value> items = elements(over);
    if (statement.condition != nullptr) {
      std::vector<Value> chosen;
      for (const Value& item : items) {
        Scope scope{&outer};
        bind(statement.names, item, scope);
        if (is_true(value_of(*statement.condition, scope))) chosen.push_back(item);
      }
      items = std::move(chosen);
    }
    if (items.empty()) {
      Scope scope{&outer};
      return write(statement.other, scope);
    }
    for (std::size_t i = 0; i < items.size(); ++i) {
      spend(8);
      Scope scope{&outer};
      scope.names["loop"] = loop_of(items, i);
      bind(statement.names, items[i], scope);
      if (write(statement.body, scope) == Flow::leaves) break;
    }
    return Flow::goes_on;
  }

  static Value loop_of(const std::vector<Value>& items, std::size_t i) {
    const auto index = static_cast<std::int64_t>(i);
    const auto count = static_cast<std::int64_t>(items.size());
    auto loop = std::make_shared<Dict>();
    loop->items = {
        {"index", index + 1},
        {"index0", index},
        {"revindex", count - index},
        {"revindex0", count - index - 1},
        {"first", index == 0},
        {"last", index + 1 == count},
        {"length", count},
        {"previtem", index > 0 ? items[i - 1] : Value(Undefined{"there is no previous item"})},
        {"nextitem", index + 1 < count ? items[i + 1] : Value(Undefined{"there is no next item"})}};
    loop->opaque = true;
    return loop;
  }

  Value macro(const Statement& statement) {
    return make_callable(statement.names[0], [this, &statement](const Arguments& arguments) -> Value {
      const std::vector<Parameter>& parameters = statement.parameters;
      if (arguments.positional.size() > parameters.size())
        fail(fmt::format("macro '{}' takes {} arguments", statement.names[0], parameters.size()));
      if (++calls_ > kMaxCalls) fail("macros call one another too deeply");
      Scope scope{&root_};
      for (const auto& [name, value] : arguments.named) {
        std::size_t i = 0;
        while (i < parameters.size() && parameters[i].name != name) ++i;
        if (i < arguments.positional.size() || i == parameters.size())
          fail(fmt::format("macro '{}' has no place for an argument '{}'", statement.names[0], name));
        scope.names[name] = value;
      }
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        const Parameter& parameter = parameters[i];
        if (i < arguments.positional.size()) {
          scope.names[parameter.name] = arguments.positional[i];
        } else if (!scope.names.contains(parameter.name)) {
          scope.names[parameter.name] = parameter.otherwise == nullptr
                                            ? Value(Undefined{"a parameter without a value"})
                                            : value_of(*parameter.otherwise, scope);
        }
      }
      const int line = line_;
      Text text = captured([&] { write(statement.body, scope); });
      line_ = line;
      --calls_;
      return text;
    });
  }

  // ---- expressions

  Value value_of(const Expression& expression, Scope& scope) {
    line_ = expression.line;
    spend(1);
    Value value = raw_value_of(expression, scope);
    if (const auto* text = value.as<Text>(); text != nullptr && expression.kind != Kind::literal) {
      spend(static_cast<std::int64_t>(text->size() / 64));
      if (text->size() > kMaxTextBytes) fail("a text is too large");
    }
    return value;
  }

  Value raw_value_of(const Expression& expression, Scope& scope) {
    const auto item = [&](std::size_t i) { return value_of(*expression.items[i], scope); };
    switch (expression.kind) {
      case Kind::literal:
        return expression.value;
      case Kind::name:
        return name(expression.name, scope);
      case Kind::list:
        return list(expression, scope);
      case Kind::dictionary:
        return dictionary(expression, scope);
      case Kind::attribute:
        return attribute_of(defined(item(0)), expression.name);
      case Kind::element: {
        const Value of = defined(item(0));
        spend(weight_of(of));
        return element(of, item(1));
      }
      case Kind::slice:
        return slice(expression, scope);
      case Kind::call:
        return call(expression, scope);
      case Kind::filter: {
        const Value input = item(0);
        const Arguments arguments = arguments_of(expression, scope);
        spend(weight_of(input));
        return apply_filter(expression.name, input, arguments);
      }
      case Kind::test: {
        const Value tested = item(0);
        if (expression.items.size() > 2 || !expression.keywords.empty())
          fail(fmt::format("the test '{}' with several operands is not supported", expression.name));
        const Value operand = expression.items.size() > 1 ? item(1) : Value();
        spend(weight_of(tested) + weight_of(operand));
        return apply_test(expression.name, tested, expression.items.size() > 1 ? &operand : nullptr);
      }
      case Kind::unary:
        if (expression.name == "not") return !is_true(item(0));
        return signed_value(expression.name, item(0));
      case Kind::arithmetic: {
        const Value left = item(0);
        const Value right = item(1);
        spend(weight_of(left) + weight_of(right));
        Value result = arithmetic(expression.name, left, right);
        if (expression.name == "*") spend(weight_of(result));
        return result;
      }
      case Kind::comparison:
        return comparison(expression, scope);
      case Kind::both: {
        Value left = item(0);
        return is_true(left) ? item(1) : left;
      }
      case Kind::either: {
        Value left = item(0);
        return is_true(left) ? left : item(1);
      }
      case Kind::conditional:
        if (is_true(item(1))) return item(0);
        if (expression.items[2] == nullptr) return Undefined{"an 'if' without its 'else'"};
        return item(2);
    }
    return {};
  }

  static Value name(const std::string& name, const Scope& scope) {
    const Value* found = scope.find(name);
    return found != nullptr ? *found : find_function(name);
  }

  // Nothing can be asked of what is not there.
  static Value defined(Value value) {
    if (const auto* undefined = value.as<Undefined>())
      fail(fmt::format("something is asked of an undefined value: {}", undefined->what));
    return value;
  }

  Value list(const Expression& expression, Scope& scope) {
    std::vector<Value> items;
    for (const ExpressionPtr& item : expression.items) items.push_back(value_of(*item, scope));
    return make_list(std::move(items), expression.name == "tuple");
  }

  Value dictionary(const Expression& expression, Scope& scope) {
    std::vector<std::pair<Text, Value>> items;
    for (std::size_t i = 0; i < expression.items.size(); i += 2) {
      const Value key = value_of(*expression.items[i], scope);
      if (key.as<Text>() == nullptr) fail("a dictionary has a key that is no text");
      items.emplace_back(*key.as<Text>(), value_of(*expression.items[i + 1], scope));
    }
    return make_dict(std::move(items));
  }

  Value slice(const Expression& expression, Scope& scope) {
    const Value of = defined(value_of(*expression.items[0], scope));
    spend(weight_of(of));
    const auto end = [&](std::size_t i) -> std::optional<std::int64_t> {
      if (expression.items[i] == nullptr) return std::nullopt;
      const Value given = value_of(*expression.items[i], scope);
      if (given.as<None>() != nullptr) return std::nullopt;
      return to_integer(given, "a part's end");
    };
    const std::optional<std::int64_t> begin = end(1);
    return part(of, {begin, end(2), end(3)});
  }

  Arguments arguments_of(const Expression& expression, Scope& scope) {
    Arguments arguments;
    for (std::size_t i = 1; i < expression.items.size(); ++i)
      arguments.positional.push_back(value_of(*expression.items[i], scope));
    for (const auto& [name, value] : expression.keywords)
      arguments.named.emplace_back(name, value_of(*value, scope));
    return arguments;
  }

  Value call(const Expression& expression, Scope& scope) {
    const Expression& callee = *expression.items[0];
    const Value function = value_of(callee, scope);
    const auto* callable = function.as<std::shared_ptr<Callable>>();
    if (callable == nullptr) {
      const std::string what = callee.name.empty() ? "a value" : fmt::format("'{}'", callee.name);
      fail(fmt::format("{} is called, which is no function", what));
    }
    const Arguments arguments = arguments_of(expression, scope);
    for (const Value& argument : arguments.positional) spend(weight_of(argument));
    return (*callable)->call(arguments);
  }

  Value comparison(const Expression& expression, Scope& scope) {
    Value left = value_of(*expression.items[0], scope);
    for (std::size_t i = 0; i < expression.operators.size(); ++i) {
      Value right = value_of(*expression.items[i + 1], scope);
      spend(weight_of(left) + weight_of(right));
      if (!holds(expression.operators[i], left, right)) return false;
      left = std::move(right);
    }
    return true;
  }

  Scope root_;
  Text out_;
  std::int64_t work_ = 0;
  int calls_ = 0;
  int line_ = 0;
};

}  // namespace

Text evaluate(const Body& body, const std::map<std::string, Value>& variables) {
  return Evaluator(variables).run(body);
}

}  // namespace spqr::jinja
