#include "io/files/pickle.h"

#include <bit>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using nlohmann::json;

constexpr size_t longest = size_t{1} << 20;
constexpr int deepest = 100;
// Of the tree, as an object that is named often is copied as often:
constexpr int64_t most_values = 200000;
constexpr size_t most_text = size_t{16} << 20;
constexpr size_t longest_name = 60;  // of what is called: none that is known is longer, and messages show it

// An object while the pickle is read. Containers are remembered before they are filled, and may hold
// themselves.
struct Object {
  enum Kind { plain, bytes, list, dictionary, name, array };
  Kind kind = plain;
  json value = {};                  // of a plain one
  std::string text = {};            // of bytes and names
  std::vector<Object*> items = {};  // of a dictionary key, value, key, value, ...; of an array one list
};
using Pointer = Object*;

class Pickle {
 public:
  Pickle(std::span<const std::byte> content, const std::string& context)
      : rest_(reinterpret_cast<const char*>(content.data()), content.size()), context_(context) {
    if (content.size() > longest) fail("it is longer than 1 MiB");
  }

  json read() {
    while (step(static_cast<unsigned char>(take(1)[0]))) {
    }
    return tree(*pop(), 0);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw UserError(context_ + ": its pickle cannot be read: " + what);
  }

  std::string_view take(size_t count) {
    if (count > rest_.size()) fail("it is cut off");
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  // A little-endian number of up to eight bytes.
  uint64_t number(size_t bytes) {
    uint64_t value = 0;
    std::memcpy(&value, take(bytes).data(), bytes);
    return value;
  }
  int64_t signed_number(size_t bytes) {
    if (bytes == 0) return 0;
    if (bytes > sizeof(int64_t)) fail("an integer is longer than 8 bytes");
    const auto unused = static_cast<int>(64 - 8 * bytes);
    return static_cast<int64_t>(number(bytes) << unused) >> unused;
  }
  std::string line() {
    const size_t end = rest_.find('\n');
    if (end == std::string_view::npos) fail("it is cut off");
    const std::string text(take(end));
    take(1);
    return text;
  }

  void push(Object object) { stack_.push_back(&objects_.emplace_back(std::move(object))); }
  Pointer push_again(Pointer object) {
    stack_.push_back(object);
    return object;
  }
  void push(json value) { push(Object{Object::plain, std::move(value)}); }
  Pointer pop() {
    if (stack_.empty() || (!marks_.empty() && marks_.back() == stack_.size())) fail("it is damaged");
    const Pointer top = stack_.back();
    stack_.pop_back();
    return top;
  }
  std::vector<Pointer> pop_last(size_t count) {
    std::vector<Pointer> items(count);
    for (size_t i = count; i-- > 0;) items[i] = pop();
    return items;
  }
  std::vector<Pointer> pop_to_mark() {
    if (marks_.empty()) fail("it is damaged");
    const size_t count = stack_.size() - marks_.back();
    std::vector<Pointer> items = pop_last(count);
    marks_.pop_back();
    return items;
  }
  Object& top(Object::Kind kind) {
    const Pointer object = pop();
    if (object->kind != kind) fail("it is damaged");
    return *push_again(object);
  }
  void extend(Object::Kind kind, const std::vector<Pointer>& items) {
    if (kind == Object::dictionary && items.size() % 2 != 0) fail("it is damaged");
    std::vector<Pointer>& all = top(kind).items;
    all.insert(all.end(), items.begin(), items.end());
  }
  void push_list(std::vector<Pointer> items) { push(Object{Object::list, {}, {}, std::move(items)}); }
  void push_name(std::string_view name) {
    push(Object{Object::name, {}, std::string(name.substr(0, longest_name))});
  }
  void remember(uint64_t place) { memory_[place] = push_again(pop()); }
  void recall(uint64_t place) {
    const auto found = memory_.find(place);
    if (found == memory_.end()) fail("it is damaged");
    push_again(found->second);
  }

  // What NumPy has called for its arrays, types and numbers.
  void call() {
    const Pointer arguments = pop(), function = pop();
    const std::vector<Pointer>& given = arguments->items;
    if (function->kind != Object::name || arguments->kind != Object::list) fail("it is damaged");
    const std::string& name = function->text;
    if (name == "_reconstruct") {
      push_list({});
    } else if (name == "dtype" && !given.empty() && given[0]->value.is_string()) {
      push_name(given[0]->value.get_ref<const std::string&>());
    } else if (name == "scalar" && given.size() == 2 && given[0]->kind == Object::name &&
               given[1]->kind == Object::bytes) {
      push(scalar(given[0]->text, given[1]->text));
    } else {
      fail("it calls " + one_line(name));
    }
  }
  // NumPy's types get their byte order so, and arrays what they hold: objects or the bytes of numbers.
  void build() {
    const Pointer state = pop(), object = pop();
    const std::vector<Pointer>& given = state->items;
    if (object->kind == Object::name && given.size() > 1 && given[1]->value == ">")
      push_name(">" + object->text);
    else if (object->kind == Object::name)
      push_name(object->text);
    else if (object->kind == Object::list && given.size() == 5 && given[4]->kind == Object::list)
      *push_again(object) = {Object::array, {}, {}, {given[4]}};
    else if (object->kind == Object::list && given.size() == 5)
      push_again(object)->kind = Object::plain;
    else
      fail("it is damaged");
  }
  static json scalar(const std::string& type, const std::string& bytes) {
    uint64_t bits = 0;
    if (bytes.size() > sizeof bits || type.starts_with('>')) return nullptr;
    std::memcpy(&bits, bytes.data(), bytes.size());
    if (type == "f8" && bytes.size() == 8) return std::bit_cast<double>(bits);
    if (type == "f4" && bytes.size() == 4) return std::bit_cast<float>(static_cast<uint32_t>(bits));
    if (type == "b1") return bits != 0;
    if (type.starts_with('u')) return bits;
    if (!type.starts_with('i') || bytes.empty()) return nullptr;
    const auto unused = static_cast<int>(64 - 8 * bytes.size());
    return static_cast<int64_t>(bits << unused) >> unused;
  }

  // One instruction; false: the last.
  bool step(unsigned char code) {
    switch (code) {
      case 0x80:  // version
        take(1);
        break;
      case 0x95:  // length of what follows
        take(8);
        break;
      case '.':
        return false;
      case 'N':
        push(json());
        break;
      case 0x88:
      case 0x89:
        push(json(code == 0x88));
        break;
      case 'K':
        push(json(number(1)));
        break;
      case 'M':
        push(json(number(2)));
        break;
      case 'J':
        push(json(signed_number(4)));
        break;
      case 0x8a:
        push(json(signed_number(number(1))));
        break;
      case 'G':
        push(json(std::bit_cast<double>(__builtin_bswap64(number(8)))));
        break;
      case 0x8c:
        push(json(utf8_text(take(number(1)))));
        break;
      case 'X':
        push(json(utf8_text(take(number(4)))));
        break;
      case 'C':
        push(Object{Object::bytes, {}, std::string(take(number(1)))});
        break;
      case 'B':
        push(Object{Object::bytes, {}, std::string(take(number(4)))});
        break;
      case ']':
      case ')':
        push_list({});
        break;
      case '}':
        push(Object{Object::dictionary});
        break;
      case '(':
        marks_.push_back(stack_.size());
        break;
      case 't':
        push_list(pop_to_mark());
        break;
      case 0x85:
      case 0x86:
      case 0x87:
        push_list(pop_last(code - 0x84u));
        break;
      case 'a':
        extend(Object::list, pop_last(1));
        break;
      case 'e':
        extend(Object::list, pop_to_mark());
        break;
      case 's':
        extend(Object::dictionary, pop_last(2));
        break;
      case 'u':
        extend(Object::dictionary, pop_to_mark());
        break;
      case 'q':
        remember(number(1));
        break;
      case 'r':
        remember(number(4));
        break;
      case 0x94:
        remember(memory_.size());
        break;
      case 'h':
        recall(number(1));
        break;
      case 'j':
        recall(number(4));
        break;
      case 'c':
        line();  // the module
        push_name(line());
        break;
      case 0x93: {
        const std::vector<Pointer> module_and_name = pop_last(2);
        if (!module_and_name[1]->value.is_string()) fail("it is damaged");
        push_name(module_and_name[1]->value.get_ref<const std::string&>());
        break;
      }
      case 'R':
        call();
        break;
      case 'b':
        build();
        break;
      default:
        fail("it has instruction " + std::to_string(code));
    }
    return true;
  }

  const std::string& count_text(const json& value) {
    const std::string& text = value.get_ref<const std::string&>();
    text_ += text.size();
    if (text_ > most_text) fail("it holds more than 16 MiB of text");
    return text;
  }

  json tree(const Object& object, int depth) {
    if (depth > deepest) fail("it nests deeper than " + std::to_string(deepest));
    if (++values_ > most_values) fail("it holds more than " + std::to_string(most_values) + " values");
    if (object.kind == Object::plain) {
      if (object.value.is_string()) count_text(object.value);
      return object.value;
    }
    if (object.kind == Object::array) return tree(*object.items[0], depth + 1);
    if (object.kind == Object::list) {
      json items = json::array();
      for (const Pointer& item : object.items) items.push_back(tree(*item, depth + 1));
      return items;
    }
    if (object.kind != Object::dictionary) return nullptr;
    json members = json::object();
    for (size_t i = 0; i < object.items.size(); i += 2) {
      json member = tree(*object.items[i + 1], depth + 1);  // counts, too, where its key is no text
      if (const json& key = object.items[i]->value; key.is_string())
        members[count_text(key)] = std::move(member);
    }
    return members;
  }

  std::string_view rest_;
  const std::string& context_;
  std::deque<Object> objects_;
  std::vector<Pointer> stack_;
  std::vector<size_t> marks_;  // how long the stack was
  std::map<uint64_t, Pointer> memory_;
  int64_t values_ = 0;
  size_t text_ = 0;  // bytes
};

}  // namespace

json parse_pickle(std::span<const std::byte> content, const std::string& context) {
  return Pickle(content, context).read();
}

}  // namespace eelsvae
