// Package pages reads the project's pages, whose blocks of code are what the tests load and run.
package pages

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Page is a page in Markdown.
type Page struct {
	// Name is its file's.
	Name string
	// Text is the whole, and Prose what stands outside of its blocks.
	Text, Prose string
	Blocks      []Block
}

// Block is a fenced block of code.
type Block struct {
	// Language is what its first line says: "```python file=ask.py" is of python.
	Language string
	// File is the name that its first line gives it, or "". It may be in a folder.
	File string
	Text string
	// Heading is the one that it stands under, whatever its level.
	Heading string
	// Line is where Text begins on the page.
	Line int
}

// Read reads the page of that name in a folder.
func Read(dir, name string) (Page, error) {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return Page{}, err
	}
	p := Page{Name: name, Text: string(text)}
	var open *Block
	number, heading := 0, ""
	for line := range strings.Lines(p.Text) {
		number++
		info, fence := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "```")
		switch {
		case fence && open == nil:
			language, further, _ := strings.Cut(info, " ")
			file, named := strings.CutPrefix(further, "file=")
			if further != "" && (!named || !filepath.IsLocal(file)) {
				return Page{}, fmt.Errorf("%s:%d: a block begins with ```language, or ```language file=NAME", name, number)
			}
			open = &Block{Language: language, File: file, Line: number + 1, Heading: heading}
		case fence:
			p.Blocks = append(p.Blocks, *open)
			open = nil
		case open != nil:
			open.Text += line
		default:
			p.Prose += line
			if title := strings.TrimLeft(line, "#"); title != line && strings.HasPrefix(title, " ") {
				heading = strings.TrimSpace(title)
			}
		}
	}
	if open != nil {
		return Page{}, fmt.Errorf("%s:%d: the block has no end", name, open.Line)
	}
	return p, nil
}

// ReadAll reads all pages of a folder.
func ReadAll(dir string) ([]Page, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		return nil, err
	}
	var pages []Page
	for _, file := range files {
		p, err := Read(dir, filepath.Base(file))
		if err != nil {
			return nil, err
		}
		pages = append(pages, p)
	}
	return pages, nil
}

// File is the block of that file name.
func (p Page) File(name string) (Block, error) {
	for _, b := range p.Blocks {
		if b.File == name {
			return b, nil
		}
	}
	return Block{}, fmt.Errorf("%s has no block for the file %s", p.Name, name)
}

// Of are the blocks of a language that have no file name: fragments.
func (p Page) Of(language string) []Block {
	var blocks []Block
	for _, b := range p.Blocks {
		if b.Language == language && b.File == "" {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// Write writes the page's files into a folder.
func (p Page) Write(dir string) error {
	for _, b := range p.Blocks {
		if b.File == "" {
			continue
		}
		file := filepath.Join(dir, b.File)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(b.Text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
