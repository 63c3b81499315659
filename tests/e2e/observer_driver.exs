# What the GUI test runs inside the node that shows Observer: finds windows and reads their texts through wx, as a user
# would with the eyes, and acts as the mouse does. Sent as text, since the node may live in another tree of files.
defmodule ObserverDriver do
  def env do
    send(:observer, {:get_debug_info, self()})

    receive do
      {:observer_debug, env, notebook, tab} ->
        :wx.set_env(env)
        {notebook, tab}
    after
      5000 -> exit(:observer_does_not_answer)
    end
  end

  def frame do
    {notebook, _} = env()
    top(notebook)
  end

  defp top(window) do
    parent = :wxWindow.getParent(window)
    if :wx.is_null(parent), do: window, else: top(parent)
  end

  # Chooses an entry of a menu of the main window by its texts, as a click does; fails when it is not there.
  def menu(menu, item) do
    bar = :wx.typeCast(frame(), :wxFrame) |> :wxFrame.getMenuBar()
    id = :wxMenuBar.findMenuItem(bar, to_charlist(menu), to_charlist(item))
    if id < 0, do: exit({:no_such_entry, menu, item, labels(bar)})
    send(:observer, {:wx, id, [], [], {:wxCommand, :command_menu_selected, [], 0, 0}})
    id
  end

  defp labels(bar) do
    for i <- 0..(:wxMenuBar.getMenuCount(bar) - 1) do
      items = :wxMenuBar.getMenu(bar, i) |> :wxMenu.getMenuItems()
      {:wxMenuBar.getMenuLabel(bar, i), Enum.map(items, &:wxMenuItem.getItemLabelText/1)}
    end
  end

  def tabs do
    {notebook, _} = env()
    for i <- 0..(:wxNotebook.getPageCount(notebook) - 1), do: to_string(:wxNotebook.getPageText(notebook, i))
  end

  def tab(name) do
    {notebook, _} = env()
    :wxNotebook.setSelection(notebook, Enum.find_index(tabs(), &(&1 == name)))
    settle()
    elem(env(), 1)
  end

  # The events of what was done before have been handled.
  def settle do
    {_, tab} = env()
    :sys.get_state(tab)
    :ok
  end

  # Every text of the window and what is in it.
  def texts(window) do
    own = own_texts(:wxWindow.getName(window), window)
    below = if :wxWindow.isShown(window), do: Enum.flat_map(:wxWindow.getChildren(window), &texts/1), else: []
    own ++ below
  end

  defp own_texts('listCtrl', w), do: rows(w)
  defp own_texts('htmlWindow', w), do: [to_string(:wxHtmlWindow.toText(:wx.typeCast(w, :wxHtmlWindow)))]

  defp own_texts('listBox', w) do
    box = :wx.typeCast(w, :wxListBox)
    n = :wxControlWithItems.getCount(box)
    for i <- Enum.take(0..n, n), do: to_string(:wxControlWithItems.getString(box, i))
  end

  defp own_texts(_, w), do: [to_string(:wxWindow.getLabel(w))]

  # The rows of a list as texts, columns apart by " | ", its head first.
  def rows(list) do
    grid = :wx.typeCast(list, :wxListCtrl)
    columns = Enum.to_list(0..(:wxListCtrl.getColumnCount(grid) - 1))
    item = :wxListItem.new()

    head =
      for c <- columns do
        :wxListItem.setMask(item, 2)
        :wxListCtrl.getColumn(grid, c, item)
        to_string(:wxListItem.getText(item))
      end

    n = min(:wxListCtrl.getItemCount(grid), 200)
    body = for r <- Enum.take(0..n, n), do: for(c <- columns, do: to_string(:wxListCtrl.getItemText(grid, r, col: c)))
    Enum.map([head | body], &Enum.join(&1, " | "))
  end

  def all_texts, do: texts(frame())

  # Windows of their own: processes, tables.
  def top_windows, do: tops(frame())

  defp tops(window) do
    Enum.flat_map(:wxWindow.getChildren(window), fn w ->
      if(:wxWindow.isTopLevel(w) and :wxWindow.isShown(w), do: [w], else: []) ++ tops(w)
    end)
  end

  def title(window), do: to_string(:wxWindow.getLabel(window))

  def list(window) do
    if :wxWindow.getName(window) == 'listCtrl',
      do: [window],
      else: if(:wxWindow.isShown(window), do: Enum.flat_map(:wxWindow.getChildren(window), &list/1), else: [])
  end

  # Where on the screen that row of a list is: of the active tab, or of the window.
  def row_position(pattern, window \\ nil) do
    {notebook, _} = env()
    [list | _] = list(window || :wxNotebook.getCurrentPage(notebook))
    grid = :wx.typeCast(list, :wxListCtrl)
    at = Enum.find_index(rows(list), &(&1 =~ pattern)) - 1
    :wxListCtrl.ensureVisible(grid, at)
    {x, y, _, h} = rect(:wxListCtrl.getItemRect(grid, at))
    :wxWindow.clientToScreen(grid, {x + 60, y + div(h, 2)})
  end

  # OTP 25 gives the rectangle, OTP 27 says first that there is one.
  defp rect({true, r}), do: r
  defp rect(r), do: r

  # Clicks twice on the head of the first column: rows stay where they are while others come and go below.
  def sort_by_pid do
    {_, tab} = env()
    for _ <- 1..2, do: send(tab, {:wx, 0, [], [], {:wxList, :command_list_col_click, 0, 0, 0, 0, {0, 0}}})
    settle()
  end

  # Turns to a page of the notebook of a window of its own.
  def page(window, name) do
    [notebook] = for n <- :wxWindow.getChildren(window), :wxWindow.getName(n) == 'notebook', do: :wx.typeCast(n, :wxNotebook)
    at = Enum.find(0..(:wxNotebook.getPageCount(notebook) - 1), &(:wxNotebook.getPageText(notebook, &1) == to_charlist(name)))
    :wxNotebook.setSelection(notebook, at)
    texts(:wxNotebook.getCurrentPage(notebook))
  end

  # Where on the screen the middle of the button with that text is, in the window on top that has one.
  def button_position(text) do
    [button | _] = Enum.flat_map(Enum.reverse(top_windows()) ++ [frame()], &labelled(&1, to_charlist(text)))
    {w, h} = :wxWindow.getSize(button)
    :wxWindow.clientToScreen(button, {div(w, 2), div(h, 2)})
  end

  defp labelled(window, text) do
    found = Enum.reject(:wxWindow.getLabel(window), &(&1 == ?&)) == text
    below = if :wxWindow.isShown(window), do: Enum.flat_map(:wxWindow.getChildren(window), &labelled(&1, text)), else: []
    if(found, do: [window], else: []) ++ below
  end
end
