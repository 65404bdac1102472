#include "io/stroke_font.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace eelsvae {
namespace {

struct Point {
  int x, y;
};
constexpr int pen_up = -99;

// Glyphs of the Hershey Simplex Roman font (A. V. Hershey, Calligraphy for Computers, U.S. Naval Weapons
// Laboratory, 1967; free to use). Units: a digit is 21 tall, y points up from the baseline.
struct Glyph {
  char name;
  int advance;
  std::vector<Point> path;  // lines from point to point; {pen_up, 0} lifts the pen
};

const std::vector<Glyph>& glyphs() {
  static const std::vector<Glyph> table = {
      {' ', 12, {}},
      {'0',
       20,
       {{9, 21},
        {6, 20},
        {4, 17},
        {3, 12},
        {3, 9},
        {4, 4},
        {6, 1},
        {9, 0},
        {11, 0},
        {14, 1},
        {16, 4},
        {17, 9},
        {17, 12},
        {16, 17},
        {14, 20},
        {11, 21},
        {9, 21}}},
      {'1', 20, {{6, 17}, {8, 18}, {11, 21}, {11, 0}}},
      {'2',
       20,
       {{4, 16},
        {4, 17},
        {5, 19},
        {6, 20},
        {8, 21},
        {12, 21},
        {14, 20},
        {15, 19},
        {16, 17},
        {16, 15},
        {15, 13},
        {13, 10},
        {3, 0},
        {17, 0}}},
      {'3',
       20,
       {{5, 21},
        {16, 21},
        {10, 13},
        {13, 13},
        {15, 12},
        {16, 11},
        {17, 8},
        {17, 6},
        {16, 3},
        {14, 1},
        {11, 0},
        {8, 0},
        {5, 1},
        {4, 2},
        {3, 4}}},
      {'4', 20, {{13, 21}, {3, 7}, {18, 7}, {pen_up, 0}, {13, 21}, {13, 0}}},
      {'5',
       20,
       {{15, 21},
        {5, 21},
        {4, 12},
        {5, 13},
        {8, 14},
        {11, 14},
        {14, 13},
        {16, 11},
        {17, 8},
        {17, 6},
        {16, 3},
        {14, 1},
        {11, 0},
        {8, 0},
        {5, 1},
        {4, 2},
        {3, 4}}},
      {'6', 20, {{16, 18}, {15, 20}, {12, 21}, {10, 21}, {7, 20}, {5, 17}, {4, 12}, {4, 7},
                 {5, 3},   {7, 1},   {10, 0},  {11, 0},  {14, 1}, {16, 3}, {17, 6}, {17, 7},
                 {16, 10}, {14, 12}, {11, 13}, {10, 13}, {7, 12}, {5, 10}, {4, 7}}},
      {'7', 20, {{17, 21}, {7, 0}, {pen_up, 0}, {3, 21}, {17, 21}}},
      {'8', 20, {{8, 21},  {5, 20},  {4, 18},  {4, 16},  {5, 14}, {7, 13}, {11, 12}, {14, 11},
                 {16, 9},  {17, 7},  {17, 4},  {16, 2},  {15, 1}, {12, 0}, {8, 0},   {5, 1},
                 {4, 2},   {3, 4},   {3, 7},   {4, 9},   {6, 11}, {9, 12}, {13, 13}, {15, 14},
                 {16, 16}, {16, 18}, {15, 20}, {12, 21}, {8, 21}}},
      {'9', 20, {{16, 14}, {15, 11}, {13, 9}, {10, 8}, {9, 8},   {6, 9},   {4, 11},  {3, 14},
                 {3, 15},  {4, 18},  {6, 20}, {9, 21}, {10, 21}, {13, 20}, {15, 18}, {16, 14},
                 {16, 9},  {15, 4},  {13, 1}, {10, 0}, {8, 0},   {5, 1},   {4, 3}}},
      {'.', 10, {{5, 1}, {5, 0}}},
      {'-', 20, {{3, 9}, {17, 9}}},
      {'+', 22, {{11, 17}, {11, 1}, {pen_up, 0}, {3, 9}, {19, 9}}},
      {'e',
       18,
       {{3, 8},
        {15, 8},
        {15, 10},
        {14, 12},
        {13, 13},
        {11, 14},
        {8, 14},
        {6, 13},
        {4, 11},
        {3, 8},
        {3, 6},
        {4, 3},
        {6, 1},
        {8, 0},
        {11, 0},
        {13, 1},
        {15, 3}}},
      {'m',
       30,
       {{4, 14},
        {4, 0},
        {pen_up, 0},
        {4, 10},
        {7, 13},
        {9, 14},
        {12, 14},
        {14, 13},
        {15, 10},
        {15, 0},
        {pen_up, 0},
        {15, 10},
        {18, 13},
        {20, 14},
        {23, 14},
        {25, 13},
        {26, 10},
        {26, 0}}},
      {'n',
       19,
       {{4, 14}, {4, 0}, {pen_up, 0}, {4, 10}, {7, 13}, {9, 14}, {12, 14}, {14, 13}, {15, 10}, {15, 0}}},
      {'p',
       19,
       {{4, 14},
        {4, -7},
        {pen_up, 0},
        {4, 11},
        {6, 13},
        {8, 14},
        {11, 14},
        {13, 13},
        {15, 11},
        {16, 8},
        {16, 6},
        {15, 3},
        {13, 1},
        {11, 0},
        {8, 0},
        {6, 1},
        {4, 3}}},
      {'x', 17, {{3, 14}, {14, 0}, {pen_up, 0}, {14, 14}, {3, 0}}},
      {'u',
       19,
       {{4, 14},
        {4, -7},
        {pen_up, 0},
        {4, 4},
        {5, 1},
        {7, 0},
        {10, 0},
        {12, 1},
        {15, 4},
        {pen_up, 0},
        {15, 14},
        {15, 0}}},  // drawn with the descender of the Greek letter
  };
  return table;
}

std::vector<const Glyph*> glyphs_of(std::string_view text) {
  std::vector<const Glyph*> result;
  for (unsigned char c : text) {
    if (c == 0xc2 || c == 0xce) continue;  // the first byte of µ (U+00B5) and of μ (U+03BC)
    if (c == 0xb5 || c == 0xbc) c = 'u';
    auto found = std::find_if(glyphs().begin(), glyphs().end(), [&](const Glyph& g) { return g.name == c; });
    result.push_back(found == glyphs().end() ? &glyphs().front() : &*found);
  }
  return result;
}

double distance_to_line(double x, double y, double x0, double y0, double x1, double y1) {
  const double dx = x1 - x0, dy = y1 - y0, squared = dx * dx + dy * dy;
  const double t = squared > 0 ? std::clamp(((x - x0) * dx + (y - y0) * dy) / squared, 0.0, 1.0) : 0.0;
  return std::hypot(x - x0 - t * dx, y - y0 - t * dy);
}

}  // namespace

double text_width(std::string_view text, double height) {
  double units = 0;
  for (const Glyph* glyph : glyphs_of(text)) units += glyph->advance;
  return units * height / 21;
}

void draw_text(Image& image, double left, double baseline, double height, std::string_view text,
               Colour colour) {
  const double unit = height / 21, half_width = std::max(0.55, height * 0.065);
  for (const Glyph* glyph : glyphs_of(text)) {
    const int64_t top = std::llround(baseline - height) - 2, bottom = std::llround(baseline + 7 * unit) + 2;
    const int64_t first = std::llround(left) - 2, last = std::llround(left + glyph->advance * unit) + 2;
    for (int64_t row = std::max<int64_t>(top, 0); row < std::min(bottom, image.height); ++row) {
      for (int64_t column = std::max<int64_t>(first, 0); column < std::min(last, image.width); ++column) {
        double nearest = 1e9;
        for (size_t i = 1; i < glyph->path.size(); ++i) {
          const Point a = glyph->path[i - 1], b = glyph->path[i];
          if (a.x == pen_up || b.x == pen_up) continue;
          nearest = std::min(
              nearest, distance_to_line(column + 0.5, row + 0.5, left + a.x * unit, baseline - a.y * unit,
                                        left + b.x * unit, baseline - b.y * unit));
        }
        // The share of the pixel that the stroke covers, taking the pixel as a disc.
        const double cover = std::clamp(half_width + 0.5 - nearest, 0.0, 1.0);
        if (cover == 0) continue;
        Colour mixed = image.at(column, row);
        for (size_t c = 0; c < 3; ++c) {
          mixed[c] = static_cast<uint8_t>(std::lround(mixed[c] + cover * (colour[c] - mixed[c])));
        }
        image.set(column, row, mixed);
      }
    }
    left += glyph->advance * unit;
  }
}

}  // namespace eelsvae
